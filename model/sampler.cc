#include "model/sampler.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <numeric>

#include "absl/strings/str_cat.h"

#include "base/status_macros.h"

namespace stockpot {

namespace {

struct Candidate {
  int32_t id;
  float logit;  // Divided by the temperature.
  double p;     // Normalised over the candidates; see Normalise().
};

// More likely first; equals by id, so that every machine orders alike.
bool Before(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

absl::Status OutOfBound(const char* field, const char* bound, double value) {
  return absl::InvalidArgumentError(
      absl::StrCat("sampling.", field, " must be ", bound, "; got ", value));
}

// SplitMix64 of (seed, index): a counter-based generator, so that draw n of a
// seed is the same wherever it happens. Source: Steele et al., OOPSLA 2014.
uint64_t Mix(uint64_t seed, uint64_t index) {
  uint64_t z = seed + (index + 1) * 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

// Uniform in [0, 1), 53 bits.
double Uniform(uint64_t seed, uint64_t index) {
  return static_cast<double>(Mix(seed, index) >> 11) * 0x1.0p-53;
}

void Normalise(std::vector<Candidate>* candidates) {
  const float top = candidates->front().logit;
  double sum = 0;
  for (Candidate& c : *candidates) {
    c.p = std::exp(static_cast<double>(c.logit) - top);
    sum += c.p;
  }
  for (Candidate& c : *candidates) {
    c.p /= sum;
  }
}

// Keeps the shortest prefix whose probability reaches `mass`.
void KeepMass(std::vector<Candidate>* candidates, double mass) {
  double sum = 0;
  size_t kept = 0;
  while (kept < candidates->size() && sum < mass) {
    sum += (*candidates)[kept++].p;
  }
  candidates->resize(std::max<size_t>(kept, 1));
}

// Locally typical sampling, arXiv:2202.00666: keeps the tokens whose surprise
// is nearest to the entropy until they hold `mass`.
void KeepTypical(std::vector<Candidate>* candidates, double mass) {
  double entropy = 0;
  for (const Candidate& c : *candidates) {
    entropy -= c.p > 0 ? c.p * std::log(c.p) : 0;
  }
  std::stable_sort(candidates->begin(), candidates->end(),
                   [&](const Candidate& a, const Candidate& b) {
                     return std::abs(-std::log(a.p) - entropy) <
                            std::abs(-std::log(b.p) - entropy);
                   });
  KeepMass(candidates, mass);
  std::sort(candidates->begin(), candidates->end(), Before);
  Normalise(candidates);
}

struct Peak {
  float top = 0;  // The largest that is not NaN, unless the first is.
  bool has_nan = false;
};

// One pass, in lanes of their own: one running maximum for all would wait for
// itself at each step.
Peak FindPeak(absl::Span<const float> logits) {
  constexpr size_t kLanes = 32;
  const float* x = logits.data();
  float top[kLanes];
  int is_nan[kLanes] = {};
  std::fill_n(top, kLanes, x[0]);
  size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
#pragma omp simd
    for (size_t j = 0; j < kLanes; ++j) {
      is_nan[j] |= x[i + j] != x[i + j] ? 1 : 0;
      top[j] = top[j] < x[i + j] ? x[i + j] : top[j];
    }
  }
  for (; i < logits.size(); ++i) {
    is_nan[0] |= x[i] != x[i] ? 1 : 0;
    top[0] = top[0] < x[i] ? x[i] : top[0];
  }
  return {*std::max_element(top, top + kLanes),
          std::count(is_nan, is_nan + kLanes, 0) < int64_t{kLanes}};
}

// All tokens when nothing bounds their number, else only those that can matter:
// sorting a whole vocabulary costs more than the rest of a step.
std::vector<Candidate> Candidates(absl::Span<const float> logits,
                                  const SamplingParams& params) {
  std::vector<Candidate> all;
  all.reserve(logits.size());
  const float top = FindPeak(logits).top;
  for (size_t i = 0; i < logits.size(); ++i) {
    // Below e^-40 of the top even a whole vocabulary weighs under 1e-11: no
    // draw of 53 bits tells the difference.
    if ((logits[i] - top) / params.temperature > -40.0f) {
      all.push_back(
          {static_cast<int32_t>(i), logits[i] / params.temperature, 0.0});
    }
  }
  auto end = all.end();
  if (params.top_k > 0 && all.size() > static_cast<size_t>(params.top_k)) {
    end = all.begin() + params.top_k;
  }
  std::partial_sort(all.begin(), end, all.end(), Before);
  all.erase(end, all.end());
  return all;
}

// The largest logit; others may be -inf: tokens that the model rules out.
// Errors: Internal, as Sampler::Sample().
absl::StatusOr<float> FiniteMax(absl::Span<const float> logits) {
  const Peak peak = FindPeak(logits);
  if (peak.has_nan || !std::isfinite(peak.top)) {
    return absl::InternalError(
        "the model's output is not finite: the recipe's weights overflow the "
        "base model's dtype; lower them");
  }
  return peak.top;
}

// The first logit that is `value`. Whole blocks first: a search that may stop
// at any number is not vectorised.
int32_t IndexOf(absl::Span<const float> logits, float value) {
  constexpr size_t kBlock = 1024;
  const float* x = logits.data();
  size_t begin = 0;
  for (; begin + kBlock <= logits.size(); begin += kBlock) {
    int num_equal = 0;
#pragma omp simd reduction(+ : num_equal)
    for (size_t i = begin; i < begin + kBlock; ++i) {
      num_equal += x[i] == value ? 1 : 0;
    }
    if (num_equal > 0) {
      break;
    }
  }
  return static_cast<int32_t>(
      std::find(logits.begin() + begin, logits.end(), value) - logits.begin());
}

void FillLogprobs(absl::Span<const float> logits, int num_top,
                  SampledToken* token) {
  const float top = FindPeak(logits).top;
  double sum = 0;
  for (const float x : logits) {
    sum += std::exp(x - top);
  }
  const double log_sum = top + std::log(sum);
  token->logprob = static_cast<float>(logits[token->id] - log_sum);
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto n = std::min<ptrdiff_t>(num_top, std::ssize(ids));
  std::partial_sort(
      ids.begin(), ids.begin() + n, ids.end(), [&](int32_t a, int32_t b) {
        return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
      });
  ids.resize(static_cast<size_t>(n));
  for (const int32_t id : ids) {
    token->top.push_back({id, static_cast<float>(logits[id] - log_sum)});
  }
}

absl::Status CheckBiases(const absl::flat_hash_map<int32_t, float>& biases,
                         int32_t vocab_size) {
  if (biases.size() > SamplingParams::kMaxLogitBiases) {
    return OutOfBound("logit_bias", "at most 1024 entries",
                      static_cast<double>(biases.size()));
  }
  for (const auto& [id, bias] : biases) {
    if (id < 0 || id >= vocab_size) {
      return OutOfBound("logit_bias", "keyed by ids below the vocabulary size",
                        id);
    }
    if (!(bias >= -100 && bias <= 100)) {
      return OutOfBound("logit_bias", "in [-100, 100]", bias);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status SamplingParams::Validate(int32_t vocab_size) const {
  // Negated comparisons, so that NaN is out of every bound.
  if (!(temperature >= 0 && temperature <= 100)) {
    return OutOfBound("temperature", "in [0, 100]", temperature);
  }
  if (top_k < 0) {
    return OutOfBound("top_k", "at most 2^31 - 1", top_k);
  }
  if (!(top_p > 0 && top_p <= 1)) {
    return OutOfBound("top_p", "in (0, 1]", top_p);
  }
  if (!(min_p >= 0 && min_p <= 1)) {
    return OutOfBound("min_p", "in [0, 1]", min_p);
  }
  if (!(typical_p > 0 && typical_p <= 1)) {
    return OutOfBound("typical_p", "in (0, 1]", typical_p);
  }
  if (!(repetition_penalty > 0 && repetition_penalty <= 10)) {
    return OutOfBound("repetition_penalty", "in (0, 10]", repetition_penalty);
  }
  if (!(frequency_penalty >= -2 && frequency_penalty <= 2)) {
    return OutOfBound("frequency_penalty", "in [-2, 2]", frequency_penalty);
  }
  if (!(presence_penalty >= -2 && presence_penalty <= 2)) {
    return OutOfBound("presence_penalty", "in [-2, 2]", presence_penalty);
  }
  return CheckBiases(logit_bias, vocab_size);
}

Sampler::Sampler(SamplingParams params, absl::Span<const int32_t> prompt)
    : params_(std::move(params)) {
  if (params_.repetition_penalty != 1) {
    for (const int32_t id : prompt) {
      history_.try_emplace(id, 0);
    }
  }
}

void Sampler::Penalise(absl::Span<float> logits) const {
  for (const auto& [id, bias] : params_.logit_bias) {
    logits[id] += bias;
  }
  for (const auto& [id, count] : history_) {
    float& x = logits[id];
    // arXiv:1909.05858, with the sign rule of transformers.
    x = x > 0 ? x / params_.repetition_penalty : x * params_.repetition_penalty;
    if (count > 0) {
      x -= params_.frequency_penalty * static_cast<float>(count) +
           params_.presence_penalty;
    }
  }
}

int32_t Sampler::Draw(absl::Span<const float> logits) {
  std::vector<Candidate> candidates = Candidates(logits, params_);
  Normalise(&candidates);
  if (params_.typical_p < 1) {
    KeepTypical(&candidates, params_.typical_p);
  }
  if (params_.top_p < 1) {
    KeepMass(&candidates, params_.top_p);
  }
  if (params_.min_p > 0) {
    const double floor = params_.min_p * candidates.front().p;
    while (candidates.back().p < floor) {
      candidates.pop_back();
    }
  }
  double mass = 0;
  for (const Candidate& c : candidates) {
    mass += c.p;
  }
  double left = Uniform(params_.seed, num_draws_++) * mass;
  for (const Candidate& c : candidates) {
    left -= c.p;
    if (left < 0) {
      return c.id;
    }
  }
  return candidates.back().id;
}

absl::StatusOr<SampledToken> Sampler::Sample(absl::Span<float> logits,
                                             int num_top) {
  ASSIGN_OR_RETURN(float top, FiniteMax(logits));
  std::vector<float> original;
  if (num_top >= 0) {
    original.assign(logits.begin(), logits.end());
  }
  if (!params_.logit_bias.empty() || !history_.empty()) {
    Penalise(logits);
    top = FindPeak(logits).top;
  }
  SampledToken token;
  token.id = params_.temperature == 0 ? IndexOf(logits, top) : Draw(logits);
  const bool counts = params_.repetition_penalty != 1 ||
                      params_.frequency_penalty != 0 ||
                      params_.presence_penalty != 0;
  if (counts) {
    ++history_[token.id];
  }
  if (num_top >= 0) {
    FillLogprobs(original, num_top, &token);
  }
  return token;
}

}  // namespace stockpot
