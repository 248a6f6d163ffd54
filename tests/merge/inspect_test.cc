// Statistics of updates at their edges; their values in general are checked in
// spectral_golden_test.

#include "merge/methods/inspect.h"

#include "gtest/gtest.h"
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_qr.h>

#include "tests/merge/merge_terms.h"

namespace stockpot {
namespace {

using ::stockpot::testing::RandomTerm;
using ::stockpot::testing::ZeroTerm;

LowRank Random(int64_t rank, uint64_t seed, int64_t out = 40, int64_t in = 30) {
  const MergeTerm term = RandomTerm(out, in, rank, seed);
  return {term.a, term.b};
}

TEST(InspectTest, AnUntrainedAdapterIsAllZero) {
  const MergeTerm zero = ZeroTerm(40, 30, 8);
  const UpdateStatistics statistics = Inspect({zero.a, zero.b}, 2);
  EXPECT_TRUE(statistics.b_is_zero);
  EXPECT_EQ(statistics.rank, 8);
  EXPECT_EQ(statistics.dead_ranks, 8);
  EXPECT_EQ(statistics.frobenius_norm, 0);
  EXPECT_EQ(statistics.spectral_norm, 0);
  EXPECT_EQ(statistics.stable_rank, 0);
  EXPECT_EQ(statistics.effective_rank, 0);
  EXPECT_EQ(statistics.k90, 0);
}

TEST(InspectTest, CountsDeadRanks) {
  LowRank update = Random(8, 1);
  update.b.narrow(1, 2, 1).zero_();
  update.a.narrow(0, 5, 1).zero_();
  update.b.narrow(1, 7, 1).mul_(1e-9);
  const UpdateStatistics statistics = Inspect(update, 1);
  EXPECT_EQ(statistics.dead_ranks, 3);
  EXPECT_FALSE(statistics.b_is_zero);
  EXPECT_LE(statistics.effective_rank, 5.0001);
}

TEST(InspectTest, AFlatSpectrumHasFullStableAndEffectiveRank) {
  const auto [b, rb] = at::linalg_qr(Random(10, 1).b);
  const auto [a, ra] = at::linalg_qr(Random(10, 1).a.t());
  const UpdateStatistics statistics = Inspect({a.t(), b}, -3);
  EXPECT_NEAR(statistics.spectral_norm, 3, 1e-5);
  EXPECT_NEAR(statistics.stable_rank, 10, 1e-4);
  EXPECT_NEAR(statistics.effective_rank, 10, 1e-4);
  EXPECT_EQ(statistics.k90, 9);
}

TEST(InspectTest, OneRankHasRankOneWhateverTheFactors) {
  LowRank update = Random(1, 1);
  update.a = at::cat({update.a, update.a, update.a}, 0);
  update.b = at::cat({update.b, update.b, update.b}, 1);
  const UpdateStatistics statistics = Inspect(update, 1);
  EXPECT_EQ(statistics.rank, 3);
  EXPECT_NEAR(statistics.stable_rank, 1, 1e-6);
  EXPECT_NEAR(statistics.effective_rank, 1, 1e-4);
  EXPECT_EQ(statistics.k90, 1);
}

TEST(InspectTest, MoreRanksThanOutputs) {
  const UpdateStatistics statistics = Inspect(Random(16, 1, /*out=*/3), 1);
  EXPECT_EQ(statistics.rank, 16);
  EXPECT_LE(statistics.stable_rank, 3);
}

TEST(CompareTest, AnUpdateIsLikeItself) {
  const LowRank x = Random(6, 1);
  const PairStatistics same = Compare(x, x);
  EXPECT_NEAR(same.cosine, 1, 1e-6);
  EXPECT_NEAR(same.output_overlap, 1, 1e-6);
  EXPECT_NEAR(same.input_overlap, 1, 1e-6);
  const PairStatistics opposite = Compare(x, {-x.a, x.b});
  EXPECT_NEAR(opposite.cosine, -1, 1e-6);
  EXPECT_NEAR(opposite.input_overlap, 1, 1e-6);
}

TEST(CompareTest, DisjointUpdatesHaveNothingInCommon) {
  LowRank x = Random(4, 1);
  LowRank y = Random(7, 2);
  x.b.narrow(0, 0, 20).zero_();
  y.b.narrow(0, 20, 20).zero_();
  const PairStatistics pair = Compare(x, y);
  EXPECT_NEAR(pair.cosine, 0, 1e-7);
  EXPECT_NEAR(pair.output_overlap, 0, 1e-12);
  EXPECT_GT(pair.input_overlap, 0.01);
}

TEST(CompareTest, ASubspaceOverlapsFullyWithWhatHoldsIt) {
  const LowRank x = Random(9, 1);
  const LowRank part = {x.a.narrow(0, 2, 3) * 1e-3, x.b.narrow(1, 2, 3)};
  const PairStatistics pair = Compare(x, part);
  EXPECT_NEAR(pair.output_overlap, 1, 1e-6);
  EXPECT_NEAR(pair.input_overlap, 1, 1e-6);
  EXPECT_LT(pair.cosine, 0.95);
}

TEST(CompareTest, ZeroIsLikeNothing) {
  const MergeTerm zero = ZeroTerm(40, 30, 4);
  const PairStatistics pair = Compare(Random(4, 1), {zero.a, zero.b});
  EXPECT_EQ(pair.cosine, 0);
  EXPECT_EQ(pair.output_overlap, 0);
}

}  // namespace
}  // namespace stockpot
