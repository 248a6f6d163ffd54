#include "merge/methods/entry_rows.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <utility>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include "merge/methods/magnitude_ranks.h"

namespace stockpot {

namespace {

// Of one term's block: four terms of it and the result fit into 4 MiB.
constexpr int64_t kBlockEntries = int64_t{1} << 18;
// Of so few the threshold is found in a copy, without MagnitudeRanks' counts.
constexpr int64_t kFewEntries = int64_t{1} << 14;
// Fewer are not worth a second thread.
constexpr int64_t kGrainEntries = int64_t{1} << 14;
// mergekit's: of a divisor, and of an L1 norm, that counts as zero.
constexpr float kLeastDivisor = 1e-8f;
constexpr double kLeastNorm = 1e-7;

bool DrawsMasks(MergeMethod method) {
  return method == MergeMethod::kDare || method == MergeMethod::kDella;
}

// The magnitude at `position` among those of `values`, in ascending order.
float MagnitudeAt(absl::Span<const float> values, int64_t position) {
  std::vector<float> magnitudes;
  magnitudes.reserve(values.size());
  for (const float value : values) {
    magnitudes.push_back(std::abs(value));
  }
  const auto nth = magnitudes.begin() + position;
  std::nth_element(magnitudes.begin(), nth, magnitudes.end());
  return *nth;
}

// A value of a row by what orders it, and where it is.
struct RankedEntry {
  uint32_t magnitude = 0;  // Bits of |value|, which order as magnitudes do.
  int32_t column = 0;
};

// The entries of a row by rising magnitude, equal ones by column: a radix sort
// of 31 bits in three stable passes.
std::vector<RankedEntry> ByMagnitude(const float* row, int64_t cols) {
  constexpr int kDigitBits = 11;
  constexpr uint32_t kDigits = uint32_t{1} << kDigitBits;
  std::vector<RankedEntry> entries(cols);
  for (int64_t c = 0; c < cols; ++c) {
    entries[c] = {std::bit_cast<uint32_t>(std::abs(row[c])),
                  static_cast<int32_t>(c)};
  }
  std::vector<RankedEntry> sorted(cols);
  for (int shift = 0; shift < 3 * kDigitBits; shift += kDigitBits) {
    std::array<int32_t, kDigits> starts{};
    for (const RankedEntry& entry : entries) {
      ++starts[(entry.magnitude >> shift) % kDigits];
    }
    int32_t start = 0;
    for (int32_t& count : starts) {
      start += std::exchange(count, start);
    }
    for (const RankedEntry& entry : entries) {
      sorted[starts[(entry.magnitude >> shift) % kDigits]++] = entry;
    }
    entries.swap(sorted);
  }
  return entries;
}

absl::Span<const float> ValuesOf(const at::Tensor& tensor) {
  return absl::MakeConstSpan(tensor.const_data_ptr<float>(),
                             static_cast<size_t>(tensor.numel()));
}

// f(first row, values) for each block of a term.
template <typename F>
void ForEachBlock(const TermRows& terms, int64_t term, int64_t block_rows,
                  const F& f) {
  for (int64_t first = 0; first < terms.rows(); first += block_rows) {
    const int64_t count = std::min(block_rows, terms.rows() - first);
    f(first, ValuesOf(terms.Rows(term, first, count)));
  }
}

}  // namespace

EntryMerge::EntryMerge(const TermRows& terms, absl::Span<const double> weights,
                       const MergeOptions& options, uint64_t stream)
    : terms_(terms),
      options_(options),
      density_(AsWritten(options.density)),
      epsilon_(AsWritten(options.epsilon)),
      by_mergekit_(options.dialect == MergeDialect::kMergekit),
      elects_(options.method == MergeMethod::kTies ||
              (options.method != MergeMethod::kMagnitudePrune &&
               options.elect_signs)),
      block_rows_(std::max<int64_t>(
          1, kBlockEntries / std::max<int64_t>(1, terms.cols()))) {
  for (int64_t i = 0; i < terms.num_terms(); ++i) {
    weights_.push_back(static_cast<float>(weights[i]));
    facts_.push_back({EntryRandom(options.seed, stream, i)});
  }
  // One term a thread: its blocks come in order, so that sums do not depend on
  // the number of threads.
  at::parallel_for(0, terms.num_terms(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (DrawsMasks(options_.method)) {
        FindRescale(i);
      } else {
        FindThresholds(i);
      }
    }
  });
}

void EntryMerge::FindThresholds(int64_t term) {
  TermFacts& facts = facts_[term];
  const int64_t size = terms_.rows() * terms_.cols();
  const auto kept = static_cast<int64_t>(density_ * static_cast<double>(size));
  int64_t dropped_top = 0;
  if (options_.method == MergeMethod::kBreadcrumbs) {
    dropped_top = static_cast<int64_t>(AsWritten(options_.gamma) *
                                       static_cast<double>(size));
    dropped_top = std::min(dropped_top, size - kept);
  }
  if (kept == 0) {
    facts.low = std::numeric_limits<float>::infinity();
    return;
  }
  if (kept == size) {
    return;
  }
  std::vector<int64_t> positions = {size - dropped_top - kept};
  if (dropped_top > 0) {
    positions.push_back(size - dropped_top - 1);
  }
  if (size <= kFewEntries) {
    const at::Tensor all = terms_.Rows(term, 0, terms_.rows());
    facts.low = MagnitudeAt(ValuesOf(all), positions[0]);
    if (dropped_top > 0) {
      facts.high = MagnitudeAt(ValuesOf(all), positions[1]);
    }
    return;
  }
  MagnitudeRanks ranks(std::move(positions));
  ForEachBlock(terms_, term, block_rows_,
               [&](int64_t, absl::Span<const float> values) {
                 ranks.CountUpper(values);
               });
  ranks.EndUpper();
  ForEachBlock(terms_, term, block_rows_,
               [&](int64_t, absl::Span<const float> values) {
                 ranks.CountLower(values);
               });
  const std::vector<float> magnitudes = ranks.Magnitudes();
  facts.low = magnitudes[0];
  if (dropped_top > 0) {
    facts.high = magnitudes[1];
  }
}

void EntryMerge::FindRescale(int64_t term) {
  TermFacts& facts = facts_[term];
  if (!by_mergekit_) {
    if (options_.method == MergeMethod::kDare) {
      facts.rescale = static_cast<float>(1 / density_);
    }
    return;  // della divides each entry by its own probability.
  }
  double before = 0;
  double after = 0;
  const int64_t cols = terms_.cols();
  std::vector<float> masked(cols);
  ForEachBlock(terms_, term, block_rows_,
               [&](int64_t first, absl::Span<const float> values) {
                 const int64_t count =
                     static_cast<int64_t>(values.size()) / cols;
                 for (int64_t r = 0; r < count; ++r) {
                   const float* row = values.data() + r * cols;
                   Sparsify(term, first + r, row, masked.data());
                   for (int64_t c = 0; c < cols; ++c) {
                     before += std::abs(row[c]);
                     after += std::abs(masked[c]);
                   }
                 }
               });
  if (before >= kLeastNorm && after >= kLeastNorm) {
    facts.rescale = static_cast<float>(before / after);
  }
}

void EntryMerge::Sparsify(int64_t term, int64_t row, const float* in,
                          float* out) const {
  const TermFacts& facts = facts_[term];
  const int64_t cols = terms_.cols();
  if (options_.method == MergeMethod::kDella) {
    MaskByRank(facts, row, in, out);
    return;
  }
  if (options_.method == MergeMethod::kDare) {
    const uint64_t threshold = EntryRandom::Threshold(density_);
    const uint64_t first = static_cast<uint64_t>(row * cols);
    const EntryRandom random = facts.random;
    const float rescale = facts.rescale;
    for (int64_t c = 0; c < cols; ++c) {
      const float kept = in[c] * rescale;
      out[c] = random.Bits(first + c) < threshold ? kept : 0.0f;
    }
    return;
  }
  const float low = facts.low;
  const float high = facts.high;
  for (int64_t c = 0; c < cols; ++c) {
    const float magnitude = std::abs(in[c]);
    // Not &&, which would be a branch.
    const bool is_kept = (magnitude >= low) & (magnitude <= high);
    out[c] = is_kept ? in[c] : 0.0f;
  }
}

// della: within the row, the probability rises with the rank of the magnitude
// from density - epsilon to density + epsilon.
void EntryMerge::MaskByRank(const TermFacts& facts, int64_t row,
                            const float* in, float* out) const {
  const int64_t cols = terms_.cols();
  const std::vector<RankedEntry> order = ByMagnitude(in, cols);
  const double step =
      cols > 1 ? 2 * epsilon_ / static_cast<double>(cols - 1) : 0;
  const double least = cols > 1 ? density_ - epsilon_ : density_;
  for (int64_t rank = 0; rank < cols; ++rank) {
    const int32_t c = order[rank].column;
    const double p = least + step * static_cast<double>(rank);
    const bool is_kept =
        facts.random.Bits(static_cast<uint64_t>(row * cols + c)) <
        EntryRandom::Threshold(p);
    const float rescale =
        by_mergekit_ ? facts.rescale : static_cast<float>(1 / p);
    out[c] = is_kept ? in[c] * rescale : 0.0f;
  }
}

void EntryMerge::Combine(const float* terms, float* score, float* divisor,
                         float* out) const {
  const int64_t cols = terms_.cols();
  std::fill_n(out, cols, 0.0f);
  if (!elects_) {
    for (size_t i = 0; i < weights_.size(); ++i) {
      const float* const term = terms + static_cast<int64_t>(i) * cols;
      const float weight = weights_[i];
      for (int64_t c = 0; c < cols; ++c) {
        out[c] += weight * term[c];
      }
    }
    return;
  }
  const bool by_size = options_.sign_election == SignElection::kTotal;
  std::fill_n(score, cols, 0.0f);
  for (size_t i = 0; i < weights_.size(); ++i) {
    const float* const term = terms + static_cast<int64_t>(i) * cols;
    const float voice = by_mergekit_ ? weights_[i] : 1.0f;
    for (int64_t c = 0; c < cols; ++c) {
      const float vote = voice * term[c];
      const float sign = static_cast<float>((vote > 0) - (vote < 0));
      score[c] += by_size ? vote : sign;
    }
  }
  std::fill_n(divisor, cols, 0.0f);
  for (size_t i = 0; i < weights_.size(); ++i) {
    const float* const term = terms + static_cast<int64_t>(i) * cols;
    const float weight = weights_[i];
    const float voice = by_mergekit_ ? weight : 1.0f;
    for (int64_t c = 0; c < cols; ++c) {
      // A tie of the election is positive.
      const float vote = (score[c] >= 0 ? 1.0f : -1.0f) * (voice * term[c]);
      out[c] += vote > 0 ? weight * term[c] : 0.0f;
      divisor[c] += vote > 0 ? voice : 0.0f;
    }
  }
  const bool divides = !by_mergekit_ || options_.method == MergeMethod::kTies ||
                       options_.method == MergeMethod::kDella;
  for (int64_t c = 0; divides && c < cols; ++c) {
    out[c] /= std::abs(divisor[c]) < kLeastDivisor ? 1.0f : divisor[c];
  }
}

at::Tensor EntryMerge::Rows(int64_t first, int64_t count) const {
  const int64_t cols = terms_.cols();
  std::vector<at::Tensor> blocks;
  for (int64_t i = 0; i < terms_.num_terms(); ++i) {
    blocks.push_back(terms_.Rows(i, first, count));
  }
  at::Tensor merged = at::empty({count, cols}, at::kFloat);
  float* const out = merged.data_ptr<float>();
  const int64_t grain = std::max<int64_t>(1, kGrainEntries / cols);
  at::parallel_for(0, count, grain, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(cols * (blocks.size() + 2));
    float* const score = scratch.data() + cols * blocks.size();
    for (int64_t r = begin; r < end; ++r) {
      for (size_t i = 0; i < blocks.size(); ++i) {
        Sparsify(static_cast<int64_t>(i), first + r,
                 blocks[i].const_data_ptr<float>() + r * cols,
                 scratch.data() + cols * i);
      }
      Combine(scratch.data(), score, score + cols, out + r * cols);
    }
  });
  return merged;
}

}  // namespace stockpot
