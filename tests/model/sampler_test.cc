#include "model/sampler.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

int32_t SampleOne(const SamplingParams& params, std::vector<float> logits,
                  std::vector<int32_t> prompt = {}) {
  Sampler sampler(params, prompt);
  const auto token = sampler.Sample(absl::MakeSpan(logits), -1);
  EXPECT_THAT(token, IsOk());
  return token.ok() ? token->id : -1;
}

// Ids of `num` draws from one sampler over the same logits.
std::vector<int32_t> Draws(const SamplingParams& params,
                           const std::vector<float>& logits, int num) {
  Sampler sampler(params, {});
  std::vector<int32_t> ids;
  for (int i = 0; i < num; ++i) {
    std::vector<float> copy = logits;
    ids.push_back(sampler.Sample(absl::MakeSpan(copy), -1)->id);
  }
  return ids;
}

std::set<int32_t> Drawn(const SamplingParams& params,
                        const std::vector<float>& logits) {
  const std::vector<int32_t> ids = Draws(params, logits, 4000);
  return {ids.begin(), ids.end()};
}

// Logits of the given probabilities.
std::vector<float> LogitsOf(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) {
    logits.push_back(static_cast<float>(std::log(p)) + 3);
  }
  return logits;
}

// What may be drawn, by the textbook: sort everything, cut in order.
std::set<int32_t> NaiveSupport(const std::vector<float>& logits,
                               const SamplingParams& params) {
  struct Entry {
    int32_t id;
    double p;
  };
  std::vector<Entry> entries;
  for (size_t i = 0; i < logits.size(); ++i) {
    entries.push_back({static_cast<int32_t>(i),
                       std::exp(logits[i] / double{params.temperature})});
  }
  const auto normalise = [&] {
    double sum = 0;
    for (const Entry& e : entries) sum += e.p;
    for (Entry& e : entries) e.p /= sum;
  };
  const auto by_p = [](const Entry& a, const Entry& b) {
    return a.p != b.p ? a.p > b.p : a.id < b.id;
  };
  const auto keep_mass = [&](double mass) {
    double sum = 0;
    size_t n = 0;
    while (n < entries.size() && sum < mass) sum += entries[n++].p;
    entries.resize(n);
  };
  std::sort(entries.begin(), entries.end(), by_p);
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) < entries.size()) {
    entries.resize(params.top_k);
  }
  normalise();
  if (params.typical_p < 1) {
    double entropy = 0;
    for (const Entry& e : entries) entropy -= e.p * std::log(e.p);
    std::stable_sort(entries.begin(), entries.end(),
                     [&](const Entry& a, const Entry& b) {
                       return std::abs(-std::log(a.p) - entropy) <
                              std::abs(-std::log(b.p) - entropy);
                     });
    keep_mass(params.typical_p);
    normalise();
    std::sort(entries.begin(), entries.end(), by_p);
  }
  if (params.top_p < 1) {
    keep_mass(params.top_p);
  }
  std::set<int32_t> ids;
  for (const Entry& e : entries) {
    if (e.p >= params.min_p * entries[0].p) ids.insert(e.id);
  }
  return ids;
}

// Twelve tokens, none rarer than 1 in 150, in no order.
std::vector<float> TwelveLogits() {
  return LogitsOf({.08, .2, .01, .15, .03, .02, .25, .012, .1, .06, .04, .048});
}

TEST(SamplerTest, GreedyTakesTheLowestIdOfATie) {
  EXPECT_EQ(SampleOne({}, {1, 7, 3, 7, 7}), 1);
  EXPECT_EQ(SampleOne({}, {-kInf, -kInf, -5}), 2);
}

// The search goes block by block.
TEST(SamplerTest, GreedyFindsTheFirstOfTheLargestAnywhere) {
  constexpr int32_t kVocab = 5000;
  for (const int32_t at : {0, 1, 1022, 1023, 1024, 2048, 4095, 4096, 4999}) {
    std::vector<float> logits(kVocab, -1.0f);
    logits[at] = 3.0f;
    logits[kVocab - 1] = 3.0f;
    Sampler sampler({}, {});
    const absl::StatusOr<SampledToken> token =
        sampler.Sample(absl::MakeSpan(logits), -1);
    ASSERT_TRUE(token.ok()) << token.status();
    EXPECT_EQ(token->id, at);
  }
}

TEST(SamplerTest, OneSeedGivesOneSequenceAndAnotherSeedAnother) {
  SamplingParams params;
  params.temperature = 1;
  params.seed = 42;
  const std::vector<float> logits(50, 0.0f);
  const std::vector<int32_t> first = Draws(params, logits, 40);
  EXPECT_EQ(first, Draws(params, logits, 40));
  params.seed = 43;
  EXPECT_NE(first, Draws(params, logits, 40));
}

TEST(SamplerTest, DrawsDoNotDependOnOtherSamplers) {
  SamplingParams params;
  params.temperature = 1;
  params.seed = 7;
  SamplingParams others = params;
  others.seed = 8;
  const std::vector<float> logits = TwelveLogits();
  const std::vector<int32_t> alone = Draws(params, logits, 30);
  Sampler sampler(params, {});
  Sampler other(others, {});
  for (int i = 0; i < 30; ++i) {
    for (int j = 0; j < i % 3; ++j) {
      std::vector<float> copy = logits;
      ASSERT_THAT(other.Sample(absl::MakeSpan(copy), 3), IsOk());
    }
    std::vector<float> copy = logits;
    EXPECT_EQ(sampler.Sample(absl::MakeSpan(copy), -1)->id, alone[i]);
  }
}

TEST(SamplerTest, CountsFollowTheSoftmaxAtTheTemperature) {
  const std::vector<float> logits = TwelveLogits();
  for (const float temperature : {0.5f, 1.0f, 2.0f}) {
    SamplingParams params;
    params.temperature = temperature;
    params.seed = 11;
    constexpr int kNum = 40000;
    std::vector<double> counts(logits.size());
    for (const int32_t id : Draws(params, logits, kNum)) {
      ++counts[id];
    }
    double sum = 0;
    for (const float x : logits) sum += std::exp(x / temperature);
    double chi2 = 0;
    for (size_t i = 0; i < logits.size(); ++i) {
      const double expected = kNum * std::exp(logits[i] / temperature) / sum;
      chi2 += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
    // 11 degrees of freedom: beyond 40 with probability 4e-5.
    EXPECT_LT(chi2, 40) << "temperature " << temperature;
  }
}

TEST(SamplerTest, SmallTemperaturesAreGreedy) {
  SamplingParams params;
  for (const float temperature : {1e-3f, 1e-20f, 1e-38f, 1e-44f}) {
    params.temperature = temperature;
    EXPECT_EQ(SampleOne(params, {1, 2, 9, 3}), 2) << temperature;
    EXPECT_EQ(SampleOne(params, {-9, -2, -8, -3}), 1) << temperature;
  }
}

TEST(SamplerTest, TopKKeepsExactlyTheKBest) {
  SamplingParams params;
  params.temperature = 1;
  params.top_k = 3;
  EXPECT_THAT(Drawn(params, TwelveLogits()), ElementsAre(1, 3, 6));
  // Equals at the border: the lower id.
  EXPECT_THAT(Drawn(params, {0, 0, 0, 0, 0}), ElementsAre(0, 1, 2));
  params.top_k = 1000;
  EXPECT_EQ(Drawn(params, TwelveLogits()).size(), 12);
}

TEST(SamplerTest, TopPKeepsTheShortestPrefixThatReachesIt) {
  SamplingParams params;
  params.temperature = 1;
  params.top_p = 0.5f;  // .25 + .2 < .5 <= .25 + .2 + .15
  EXPECT_THAT(Drawn(params, TwelveLogits()), ElementsAre(1, 3, 6));
  params.top_p = 1e-6f;
  EXPECT_THAT(Drawn(params, TwelveLogits()), ElementsAre(6));
}

TEST(SamplerTest, MinPKeepsWhatIsAtLeastThatPartOfTheBest) {
  SamplingParams params;
  params.temperature = 1;
  params.min_p = 0.35f;  // .25 * .35 = .0875
  EXPECT_THAT(Drawn(params, TwelveLogits()), ElementsAre(1, 3, 6, 8));
  params.min_p = 1;
  EXPECT_THAT(Drawn(params, TwelveLogits()), ElementsAre(6));
}

TEST(SamplerTest, EveryCutAgreesWithANaiveOne) {
  const std::vector<float> logits = TwelveLogits();
  for (const float temperature : {0.7f, 1.0f, 1.6f}) {
    for (const int top_k : {0, 5, 9}) {
      for (const float typical_p : {1.0f, 0.7f, 0.35f}) {
        for (const float top_p : {1.0f, 0.85f, 0.55f}) {
          for (const float min_p : {0.0f, 0.12f}) {
            SamplingParams params;
            params.temperature = temperature;
            params.top_k = top_k;
            params.typical_p = typical_p;
            params.top_p = top_p;
            params.min_p = min_p;
            params.seed = 5;
            EXPECT_EQ(Drawn(params, logits), NaiveSupport(logits, params))
                << temperature << " " << top_k << " " << typical_p << " "
                << top_p << " " << min_p;
          }
        }
      }
    }
  }
}

TEST(SamplerTest, ImpossibleTokensAreNeverDrawn) {
  SamplingParams params;
  params.temperature = 100;
  EXPECT_THAT(Drawn(params, {0, -kInf, 1, -kInf}), ElementsAre(0, 2));
}

TEST(SamplerTest, RepetitionPenaltyDividesPositiveAndMultipliesNegative) {
  SamplingParams params;
  params.repetition_penalty = 2;
  EXPECT_EQ(SampleOne(params, {5, 3, 0}, {0}), 1);        // 5 / 2 < 3
  EXPECT_EQ(SampleOne(params, {5, 2, 0}, {0}), 0);        // 5 / 2 > 2
  EXPECT_EQ(SampleOne(params, {-1, -1.5, -9}, {0}), 1);   // -1 * 2 < -1.5
  EXPECT_EQ(SampleOne(params, {5, 3, 0}, {0, 0, 0}), 1);  // Once, not thrice.
  EXPECT_EQ(SampleOne(params, {5, 3, 0}, {2}), 0);
}

TEST(SamplerTest, GeneratedTokensCountForThePenalties) {
  SamplingParams params;
  params.repetition_penalty = 2;
  EXPECT_THAT(Draws(params, {5, 3, 2.6f}, 3), ElementsAre(0, 1, 2));

  SamplingParams frequency;
  frequency.frequency_penalty = 1;
  // 5 4 3 2 ... against 3.5: thrice above, then below.
  EXPECT_THAT(Draws(frequency, {5, 3.5f}, 4), ElementsAre(0, 0, 1, 0));

  SamplingParams presence;
  presence.presence_penalty = 2;
  // 5 - 2 < 3.5 - 0; then 3 > 1.5 for good.
  EXPECT_THAT(Draws(presence, {5, 3.5f}, 4), ElementsAre(0, 1, 0, 0));
}

TEST(SamplerTest, PromptCountsForTheRepetitionPenaltyAlone) {
  SamplingParams params;
  params.frequency_penalty = 2;
  params.presence_penalty = 2;
  EXPECT_EQ(SampleOne(params, {5, 4.5f}, {0, 0, 0}), 0);
}

TEST(SamplerTest, BiasIsAddedBeforeThePenalties) {
  SamplingParams params;
  params.logit_bias = {{1, 4.0f}, {2, -100.0f}};
  EXPECT_EQ(SampleOne(params, {3, 0, 50}), 1);
  // (0 + 4) / 2 < 3
  params.repetition_penalty = 2;
  EXPECT_EQ(SampleOne(params, {3, 0, 50}, {1}), 0);
}

TEST(SamplerTest, LogprobsAreThoseOfTheModelItself) {
  SamplingParams params;
  params.logit_bias = {{3, 100.0f}};
  params.temperature = 0.5f;
  const std::vector<float> logits = {1, 2.5f, -1, 0, 2.5f, -kInf};
  double sum = 0;
  for (const float x : logits) sum += std::exp(x);
  Sampler sampler(params, {});
  std::vector<float> copy = logits;
  const auto token = sampler.Sample(absl::MakeSpan(copy), 3);
  ASSERT_THAT(token, IsOk());
  EXPECT_EQ(token->id, 3);
  EXPECT_NEAR(token->logprob, 0 - std::log(sum), 1e-6);
  ASSERT_EQ(token->top.size(), 3);
  EXPECT_EQ(token->top[0].id, 1);
  EXPECT_EQ(token->top[1].id, 4);
  EXPECT_EQ(token->top[2].id, 0);
  EXPECT_NEAR(token->top[0].logprob, 2.5 - std::log(sum), 1e-6);
  EXPECT_NEAR(token->top[2].logprob, 1 - std::log(sum), 1e-6);
}

TEST(SamplerTest, TopLogprobsAreNoMoreThanTheVocabulary) {
  Sampler sampler({}, {});
  std::vector<float> logits = {1, 2, 3};
  EXPECT_EQ(sampler.Sample(absl::MakeSpan(logits), 20)->top.size(), 3);
  std::vector<float> again = {1, 2, 3};
  EXPECT_TRUE(sampler.Sample(absl::MakeSpan(again), 0)->top.empty());
}

TEST(SamplerTest, LogitsThatAreNotFiniteAreAnError) {
  for (const float temperature : {0.0f, 1.0f}) {
    SamplingParams params;
    params.temperature = temperature;
    for (std::vector<float> logits :
         std::vector<std::vector<float>>{{1, kNan, 2},
                                         {kNan, 1, 2},
                                         {1, 2, kNan},
                                         {1, kInf, 2},
                                         {-kInf, -kInf, -kInf}}) {
      Sampler sampler(params, {});
      EXPECT_THAT(sampler.Sample(absl::MakeSpan(logits), 2),
                  StatusIs(absl::StatusCode::kInternal, HasSubstr("overflow")));
    }
  }
}

// Wherever it is: the check goes by lanes, and what is left over by itself.
TEST(SamplerTest, OneLogitThatIsNotFiniteIsAnError) {
  for (const float bad : {kNan, kInf}) {
    for (const int32_t at : {0, 1, 31, 32, 63, 64, 99}) {
      std::vector<float> logits(100, -1.0f);
      logits[at] = bad;
      Sampler sampler({}, {});
      EXPECT_THAT(sampler.Sample(absl::MakeSpan(logits), -1),
                  StatusIs(absl::StatusCode::kInternal, HasSubstr("overflow")))
          << at;
    }
  }
}

TEST(SamplingParamsTest, DefaultsAndExtremesAreValid) {
  EXPECT_THAT(SamplingParams().Validate(10), IsOk());
  SamplingParams params;
  params.temperature = 100;
  params.top_k = std::numeric_limits<int32_t>::max();
  params.top_p = std::numeric_limits<float>::denorm_min();
  params.min_p = 1;
  params.typical_p = std::numeric_limits<float>::denorm_min();
  params.repetition_penalty = 10;
  params.frequency_penalty = -2;
  params.presence_penalty = 2;
  params.logit_bias = {{0, -100.0f}, {9, 100.0f}};
  EXPECT_THAT(params.Validate(10), IsOk());
  // What is valid also samples.
  EXPECT_GE(SampleOne(params, std::vector<float>(10, 1.0f), {1, 2}), 0);
}

TEST(SamplingParamsTest, EachFieldOutOfBoundsIsNamed) {
  struct Case {
    const char* field;
    float SamplingParams::*member;
    std::vector<float> bad;
  };
  for (const Case& c : std::vector<Case>{
           {"temperature", &SamplingParams::temperature, {-0.1f, 100.1f}},
           {"top_p", &SamplingParams::top_p, {0, -1, 1.01f}},
           {"min_p", &SamplingParams::min_p, {-0.01f, 1.01f}},
           {"typical_p", &SamplingParams::typical_p, {0, 1.01f}},
           {"repetition_penalty",
            &SamplingParams::repetition_penalty,
            {0, -1, 10.1f}},
           {"frequency_penalty",
            &SamplingParams::frequency_penalty,
            {-2.1f, 2.1f}},
           {"presence_penalty",
            &SamplingParams::presence_penalty,
            {-2.1f, 2.1f}}}) {
    std::vector<float> bad = c.bad;
    bad.insert(bad.end(), {kNan, kInf, -kInf});
    for (const float value : bad) {
      SamplingParams params;
      params.*c.member = value;
      EXPECT_THAT(
          params.Validate(10),
          StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.field)))
          << value;
    }
  }
  SamplingParams params;
  params.top_k = -1;
  EXPECT_THAT(params.Validate(10),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("top_k")));
}

TEST(SamplingParamsTest, LogitBiasIsBoundedInNumberIdAndSize) {
  const auto refuses = [](SamplingParams params, int32_t vocab) {
    EXPECT_THAT(
        params.Validate(vocab),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("logit_bias")));
  };
  SamplingParams params;
  params.logit_bias = {{10, 1.0f}};
  refuses(params, 10);
  params.logit_bias = {{-1, 1.0f}};
  refuses(params, 10);
  params.logit_bias = {{0, 100.5f}};
  refuses(params, 10);
  params.logit_bias = {{0, kNan}};
  refuses(params, 10);
  params.logit_bias.clear();
  for (int i = 0; i < 1024; ++i) params.logit_bias[i] = 1;
  EXPECT_THAT(params.Validate(5000), IsOk());
  params.logit_bias[1024] = 1;
  refuses(params, 5000);
}

}  // namespace
}  // namespace stockpot
