// The entry-wise rules against numpy's and PEFT's
// (tests/golden/make_entry_goldens.py), and what must hold of them anyway.

#include "merge/methods/entries.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include "merge/methods/entry_random.h"
#include "merge/methods/entry_rows.h"
#include "merge/methods/magnitude_ranks.h"
#include "tests/testing/merge_options.h"
#include "tests/testing/tiny_model.h"

namespace stockpot {
namespace {

using ::nlohmann::ordered_json;
using ::stockpot::testing::MergeOptionsFrom;
using ::stockpot::testing::ReadFloats;
using ::stockpot::testing::ReadJson;
using ::stockpot::testing::TinyTensorBytes;

const char kGoldens[] = STOCKPOT_SOURCE_DIR "/tests/golden/entries/rules";

constexpr MergeMethod kRules[] = {
    MergeMethod::kMagnitudePrune, MergeMethod::kTies, MergeMethod::kDare,
    MergeMethod::kDella, MergeMethod::kBreadcrumbs};

at::Tensor Tiny(const std::string& name, std::vector<int64_t> shape,
                uint64_t seed) {
  const std::string bytes = TinyTensorBytes({name, shape}, seed, Dtype::kF32);
  at::Tensor tensor = at::zeros(shape, at::kFloat);
  std::memcpy(tensor.data_ptr(), bytes.data(), bytes.size());
  return tensor;
}

std::vector<at::Tensor> ThreeTerms(int64_t rows = 24, int64_t cols = 40) {
  std::vector<at::Tensor> terms;
  for (int i = 0; i < 3; ++i) {
    terms.push_back(Tiny(absl::StrCat("lora_", i), {rows, cols}, 3));
  }
  return terms;
}

const std::vector<double> kWeights = {1, 0.75, -0.5};

double Largest(const at::Tensor& x) {
  return x.numel() == 0 ? 0 : x.abs().max().item<double>();
}
double Distance(const at::Tensor& a, const at::Tensor& b) {
  return Largest(a.sub(b));
}

TEST(EntriesTest, EveryRuleEqualsTheReference) {
  const auto tensors = ReadFloats(std::string(kGoldens) + ".safetensors");
  const ordered_json document = ReadJson(std::string(kGoldens) + ".json");
  int cases = 0;
  for (const ordered_json& golden : document.at("cases")) {
    const auto shape = golden.at("shape").get<std::vector<int64_t>>();
    std::vector<at::Tensor> terms;
    for (const ordered_json& name : golden.at("terms")) {
      terms.push_back(Tiny(name, shape, golden.at("seed")));
    }
    std::vector<float> expected = tensors.at(golden.at("merged"));
    const at::Tensor merged = MergeEntries(
        terms, golden.at("weights").get<std::vector<double>>(),
        MergeOptionsFrom(golden.at("options")), golden.at("stream"));
    EXPECT_LE(Distance(merged, at::from_blob(expected.data(), shape)), 2e-6)
        << golden.at("options") << " " << golden.at("weights");
    ++cases;
  }
  EXPECT_GT(cases, 100);
}

// What is looked at block by block equals what is looked at as a whole.
TEST(EntriesTest, RowsMayBeAskedForInAnyPieces) {
  class Pieces : public TermRows {
   public:
    explicit Pieces(std::vector<at::Tensor> terms) : terms_(std::move(terms)) {}
    int64_t num_terms() const override { return 3; }
    int64_t rows() const override { return terms_[0].size(0); }
    int64_t cols() const override { return terms_[0].size(1); }
    at::Tensor Rows(int64_t t, int64_t first, int64_t n) const override {
      return terms_[t].narrow(0, first, n);
    }

   private:
    std::vector<at::Tensor> terms_;
  };
  // Several blocks of the passes that look at whole tensors.
  const auto terms = ThreeTerms(700, 900);
  const Pieces rows(terms);
  for (const MergeMethod method : kRules) {
    for (const MergeDialect dialect :
         {MergeDialect::kPeft, MergeDialect::kMergekit}) {
      const MergeOptions options = {
          .method = method, .dialect = dialect, .density = 0.4f};
      const at::Tensor whole = MergeEntries(terms, kWeights, options, 1);
      const EntryMerge merge(rows, kWeights, options, 1);
      ASSERT_LT(merge.block_rows(), 700);
      std::vector<at::Tensor> parts;
      for (int64_t first = 0; first < 700; first += 111) {
        parts.push_back(merge.Rows(first, std::min<int64_t>(111, 700 - first)));
      }
      EXPECT_TRUE(at::cat(parts).equal(whole)) << MethodName(method);
    }
  }
}

TEST(EntriesTest, TheSameOnAnyNumberOfThreads) {
  const auto terms = ThreeTerms(300, 200);
  const int before = at::get_num_threads();
  for (const MergeMethod method : kRules) {
    const MergeOptions options = {.method = method,
                                  .dialect = MergeDialect::kMergekit,
                                  .elect_signs = true,
                                  .density = 0.4f,
                                  .seed = 4};
    at::set_num_threads(1);
    const at::Tensor one = MergeEntries(terms, kWeights, options, 1);
    at::set_num_threads(3);
    EXPECT_TRUE(MergeEntries(terms, kWeights, options, 1).equal(one));
    at::Tensor elsewhere;
    std::thread([&] {
      elsewhere = MergeEntries(terms, kWeights, options, 1);
    }).join();
    EXPECT_TRUE(elsewhere.equal(one)) << MethodName(method);
  }
  at::set_num_threads(before);
}

TEST(EntriesTest, SeedsStreamsAndTermsDrawApart) {
  const at::Tensor ones = at::full({50, 40}, 1.0f);
  const auto kept = [&](uint64_t seed, uint64_t stream) {
    const MergeOptions options = {
        .method = MergeMethod::kDare, .density = 0.5f, .seed = seed};
    return MergeEntries({ones, ones}, std::vector<double>{1, 100}, options,
                        stream);
  };
  const at::Tensor first = kept(1, 1);
  EXPECT_TRUE(kept(1, 1).equal(first));
  EXPECT_FALSE(kept(2, 1).equal(first));
  EXPECT_FALSE(kept(1, 2).equal(first));
  // Four sums, each about a quarter of the entries: the terms are independent.
  for (const float sum : {0.0f, 2.0f, 200.0f, 202.0f}) {
    const double share = first.eq(sum).to(at::kDouble).mean().item<double>();
    EXPECT_NEAR(share, 0.25, 0.06) << sum;
  }
}

// Over many seeds the mean of what a mask leaves is the entry itself.
TEST(EntriesTest, MasksKeepTheExpectation) {
  const at::Tensor term = Tiny("lora_mean", {8, 16}, 1);
  for (const MergeMethod method : {MergeMethod::kDare, MergeMethod::kDella}) {
    at::Tensor sum = at::zeros({8, 16}, at::kFloat);
    constexpr int kSeeds = 4000;
    for (int seed = 0; seed < kSeeds; ++seed) {
      const MergeOptions options = {.method = method,
                                    .density = 0.5f,
                                    .epsilon = 0.2f,
                                    .seed = static_cast<uint64_t>(seed)};
      sum.add_(MergeEntries({term}, std::vector<double>{1}, options, 0));
    }
    // An entry is at most 0.2 and its deviation, at p = 0.3, 1.53 times that.
    EXPECT_LE(Distance(sum.div(kSeeds), term),
              0.2 * 1.53 * 5 / std::sqrt(kSeeds))
        << MethodName(method);
  }
}

TEST(EntriesTest, TheOrderOfTermsDoesNotMatterWithoutMasks) {
  const auto terms = ThreeTerms();
  for (const MergeMethod method :
       {MergeMethod::kMagnitudePrune, MergeMethod::kTies,
        MergeMethod::kBreadcrumbs}) {
    for (const MergeDialect dialect :
         {MergeDialect::kPeft, MergeDialect::kMergekit}) {
      const MergeOptions options = {.method = method,
                                    .dialect = dialect,
                                    .elect_signs = true,
                                    .density = 0.4f};
      const at::Tensor forward = MergeEntries(terms, kWeights, options, 0);
      const at::Tensor backward = MergeEntries(
          {terms[2], terms[1], terms[0]},
          std::vector<double>{kWeights[2], kWeights[1], kWeights[0]}, options,
          0);
      EXPECT_LE(Distance(forward, backward), 1e-6) << MethodName(method);
    }
  }
}

TEST(EntriesTest, ATermOfZerosChangesOnlyWhatCountsTerms) {
  const auto terms = ThreeTerms();
  const at::Tensor zeros = at::zeros({24, 40}, at::kFloat);
  for (const MergeMethod method : kRules) {
    for (const MergeDialect dialect :
         {MergeDialect::kPeft, MergeDialect::kMergekit}) {
      const MergeOptions options = {.method = method,
                                    .dialect = dialect,
                                    .elect_signs = true,
                                    .density = 0.4f};
      const at::Tensor without = MergeEntries(terms, kWeights, options, 0);
      const at::Tensor with = MergeEntries(
          {terms[0], terms[1], terms[2], zeros},
          std::vector<double>{kWeights[0], kWeights[1], kWeights[2], 5},
          options, 0);
      EXPECT_TRUE(with.equal(without)) << MethodName(method);
      EXPECT_EQ(Largest(MergeEntries({zeros, zeros}, std::vector<double>{1, -2},
                                     options, 0)),
                0)
          << MethodName(method);
    }
  }
}

TEST(EntriesTest, EverythingKeptIsTheWeightedSum) {
  const auto terms = ThreeTerms();
  const at::Tensor sum = terms[0].add(terms[1], 0.75).add(terms[2], -0.5);
  for (const MergeMethod method : kRules) {
    const MergeOptions options = {
        .method = method, .density = 1, .epsilon = 0, .gamma = 0};
    if (method == MergeMethod::kTies) continue;
    EXPECT_LE(Distance(MergeEntries(terms, kWeights, options, 0), sum), 1e-6)
        << MethodName(method);
  }
  // One term with everything kept is that term, elected or not.
  for (const MergeMethod method : kRules) {
    const MergeOptions options = {.method = method,
                                  .elect_signs = true,
                                  .density = 1,
                                  .epsilon = 0,
                                  .gamma = 0};
    EXPECT_TRUE(MergeEntries({terms[0]}, std::vector<double>{1}, options, 0)
                    .equal(terms[0]))
        << MethodName(method);
  }
}

TEST(EntriesTest, EntriesAsLargeAsTheThresholdAllStay) {
  const at::Tensor same = at::full({4, 5}, -0.25f);
  const MergeOptions options = {.method = MergeMethod::kMagnitudePrune,
                                .density = 0.1f};
  EXPECT_TRUE(MergeEntries({same}, std::vector<double>{2}, options, 0)
                  .equal(same.mul(2)));
}

TEST(MagnitudeRanksTest, FindsEveryPosition) {
  std::vector<float> values = {0,  -0.0f,      1e-45f, -3e38f, 1,
                               -1, 1.0000001f, 0.5f,   0.5f,   2};
  std::vector<float> sorted;
  for (const float value : values) sorted.push_back(std::abs(value));
  std::sort(sorted.begin(), sorted.end());
  std::vector<int64_t> positions;
  for (size_t i = 0; i < values.size(); ++i) {
    positions.push_back(static_cast<int64_t>(i));
  }
  MagnitudeRanks ranks(positions);
  const auto all = absl::MakeConstSpan(values);
  ranks.CountUpper(all.subspan(0, 3));
  ranks.CountUpper(all.subspan(3));
  ranks.EndUpper();
  ranks.CountLower(all.subspan(0, 7));
  ranks.CountLower(all.subspan(7));
  EXPECT_EQ(ranks.Magnitudes(), sorted);
}

// What they are is in the goldens: changing it would change what a seed means.
TEST(EntryRandomTest, BitsAreUniform) {
  const EntryRandom random(12, 3, 1);
  EXPECT_EQ(EntryRandom::Threshold(1), uint64_t{1} << 32);
  EXPECT_EQ(EntryRandom::Threshold(0), 0);
  double sum = 0;
  for (int i = 0; i < 100'000; ++i) sum += random.Bits(i);
  EXPECT_NEAR(sum / 100'000 / 4294967296.0, 0.5, 0.005);
}

}  // namespace
}  // namespace stockpot
