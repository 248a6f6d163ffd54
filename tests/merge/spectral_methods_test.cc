// Properties that every spectral method has, each method in turn.

#include <algorithm>
#include <functional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include <ATen/Parallel.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/isfinite.h>

#include "merge/methods/compress_then_merge.h"
#include "merge/methods/core_space.h"
#include "merge/methods/iso.h"
#include "merge/methods/knots.h"
#include "merge/methods/pico.h"
#include "merge/methods/svd.h"
#include "merge/methods/tsv.h"
#include "tests/merge/merge_terms.h"

namespace stockpot {
namespace {

using ::stockpot::testing::Dense;
using ::stockpot::testing::DenseSum;
using ::stockpot::testing::Norm;
using ::stockpot::testing::RandomTerm;
using ::stockpot::testing::RelativeError;
using ::stockpot::testing::SumRule;
using ::stockpot::testing::TrimAndElect;
using ::stockpot::testing::ZeroTerm;
using Terms = std::vector<MergeTerm>;

constexpr double kTolerance = 5e-6;  // Relative to the norm; float32 factors.
constexpr int64_t kOut = 60;
constexpr int64_t kIn = 44;

struct Method {
  std::string name;
  std::function<LowRank(const Terms&, int64_t rank)> merge;
  // sum_i weight_i f(skill i) for f that do not depend on weights.
  bool linear = false;
  // One skill of weight 1 at its own rank is returned as it is.
  bool identity = true;
  // A skill with b = 0 beside others changes nothing.
  bool ignores_zero = true;
};

void PrintTo(const Method& method, std::ostream* out) { *out << method.name; }

std::vector<Method> Methods() {
  const auto rule = TrimAndElect(1);  // Density 1: identity for one skill.
  return {
      {"cat", [](const Terms& t, int64_t) { return Concatenate(t); }, true},
      {"svd", MergeSvd, true},
      {"core_sum",
       [](const Terms& t, int64_t r) {
         return MergeInCoreSpace(t, SumRule, r);
       },
       true},
      {"core_elect",
       [rule](const Terms& t, int64_t r) {
         return MergeInCoreSpace(t, rule, r);
       }},
      {"knots_sum",
       [](const Terms& t, int64_t r) { return MergeKnots(t, SumRule, r); },
       true},
      {"knots_elect",
       [rule](const Terms& t, int64_t r) { return MergeKnots(t, rule, r); }},
      {"tsv", MergeTsv, true},
      {"iso", MergeIso, false, false},
      {"ctm_sum",
       [](const Terms& t, int64_t r) {
         return CompressThenMerge(t, r, SumRule);
       },
       true},
      {"ctm_elect",
       [rule](const Terms& t, int64_t r) {
         return CompressThenMerge(t, r, rule, {.beta = 0.5});
       }},
      {"pico_svd",
       [](const Terms& t, int64_t r) {
         return Rescaled(MergeSvd(CalibratedTerms(t), r), t);
       },
       // T and the mean norm count the zero skill.
       false, true, false},
  };
}

// A mix of ranks, weights and scales, of skills that have something in common.
Terms SomeTerms() {
  Terms terms = {RandomTerm(kOut, kIn, 5, 1, 0.7, 2),
                 RandomTerm(kOut, kIn, 1, 2, 1.0, 0.5),
                 RandomTerm(kOut, kIn, 9, 3, -0.4, 1)};
  terms[2].b.narrow(1, 0, 5).add_(terms[0].b);
  return terms;
}

class SpectralMethodsTest : public ::testing::TestWithParam<Method> {
 protected:
  at::Tensor Merge(const Terms& terms, int64_t rank = 64) const {
    const LowRank merged = GetParam().merge(terms, rank);
    EXPECT_EQ(merged.a.scalar_type(), at::kFloat);
    EXPECT_EQ(merged.b.scalar_type(), at::kFloat);
    EXPECT_EQ(merged.a.size(0), merged.b.size(1));
    EXPECT_EQ(merged.a.size(1), terms[0].a.size(1));
    EXPECT_EQ(merged.b.size(0), terms[0].b.size(0));
    EXPECT_TRUE(at::isfinite(merged.a).all().item<bool>());
    EXPECT_TRUE(at::isfinite(merged.b).all().item<bool>());
    return Dense(merged);
  }
};

TEST_P(SpectralMethodsTest, OrderOfSkillsDoesNotMatter) {
  Terms terms = SomeTerms();
  const at::Tensor merged = Merge(terms, 6);
  std::rotate(terms.begin(), terms.begin() + 1, terms.end());
  EXPECT_LE(RelativeError(Merge(terms, 6), merged), kTolerance);
  std::swap(terms[0], terms[1]);
  EXPECT_LE(RelativeError(Merge(terms, 6), merged), kTolerance);
}

TEST_P(SpectralMethodsTest, OneSkillAtWeightOneIsThatSkill) {
  if (!GetParam().identity) {
    GTEST_SKIP() << "flattens the spectrum";
  }
  const Terms terms = {RandomTerm(kOut, kIn, 7, 1)};
  EXPECT_LE(RelativeError(Merge(terms, 7), Dense(terms[0])), kTolerance);
}

TEST_P(SpectralMethodsTest, AZeroSkillChangesNothing) {
  if (!GetParam().ignores_zero) {
    GTEST_SKIP() << "counts skills";
  }
  Terms terms = SomeTerms();
  const at::Tensor merged = Merge(terms);
  terms.insert(terms.begin() + 1, ZeroTerm(kOut, kIn, 4));
  EXPECT_LE(RelativeError(Merge(terms), merged), kTolerance);
}

TEST_P(SpectralMethodsTest, ZeroSkillsGiveZero) {
  const Terms terms = {ZeroTerm(kOut, kIn, 4), ZeroTerm(kOut, kIn, 8)};
  EXPECT_EQ(Norm(Merge(terms)), 0);
  EXPECT_EQ(Norm(Merge(terms, 3)), 0);
  EXPECT_EQ(Norm(Merge({ZeroTerm(kOut, kIn, 4)}, 2)), 0);
}

TEST_P(SpectralMethodsTest, OppositeWeightsCancel) {
  Terms terms = {RandomTerm(kOut, kIn, 6, 1, 1.5),
                 RandomTerm(kOut, kIn, 6, 1, -1.5)};
  const double norm = Norm(DenseSum({terms[0]}));
  if (GetParam().name.ends_with("elect")) {
    // The rule elects +: the entries of both signs stay, and the sum of
    // absolute values is as large as the skill. Nothing cancels by design.
    EXPECT_NEAR(Norm(Merge(terms)), norm, 1e-5 * norm);
    return;
  }
  EXPECT_LE(Norm(Merge(terms)), kTolerance * norm);
  EXPECT_LE(Norm(Merge(terms, 3)), kTolerance * norm);
}

TEST_P(SpectralMethodsTest, WeightsScaleTheResult) {
  Terms terms = SomeTerms();
  const at::Tensor merged = Merge(terms, 6);
  for (MergeTerm& term : terms) term.weight *= 3;
  EXPECT_LE(RelativeError(Merge(terms, 6), merged * 3), kTolerance);
}

TEST_P(SpectralMethodsTest, ASkillTwiceIsTheSkillAtTwiceItsWeight) {
  const std::string& name = GetParam().name;
  if (name.ends_with("elect") || name == "pico_svd" || name == "tsv") {
    GTEST_SKIP() << "counts skills";
  }
  Terms once = SomeTerms();
  Terms twice = once;
  twice.push_back(once[0]);
  once[0].weight *= 2;
  if (name == "ctm_sum") {
    // Weights do not shape the bases, and the twin does.
    const at::Tensor sum = DenseSum(once);
    EXPECT_LE(RelativeError(Merge(twice), sum), kTolerance);
    return;
  }
  EXPECT_LE(RelativeError(Merge(twice), Merge(once)), kTolerance);
}

TEST_P(SpectralMethodsTest, LinearMethodsAddUp) {
  if (!GetParam().linear) {
    GTEST_SKIP() << "not linear";
  }
  const Terms terms = SomeTerms();
  at::Tensor sum;
  for (size_t i = 0; i < terms.size(); ++i) {
    Terms one = terms;  // The others at next to nothing, for equal bases.
    for (size_t j = 0; j < one.size(); ++j) {
      one[j].weight = i == j ? terms[j].weight : 1e-30;
    }
    const at::Tensor merged = Merge(one);
    sum = i == 0 ? merged : sum + merged;
  }
  EXPECT_LE(RelativeError(Merge(terms), sum), kTolerance);
  if (GetParam().name != "tsv") {
    EXPECT_LE(RelativeError(Merge(terms), DenseSum(terms)), kTolerance);
  }
}

TEST_P(SpectralMethodsTest, RankIsBounded) {
  if (GetParam().name == "cat") {
    GTEST_SKIP() << "rank is the sum";
  }
  for (const int64_t rank : {1, 4, 14, 15, 16, 100}) {
    const int64_t have = GetParam().merge(SomeTerms(), rank).a.size(0);
    EXPECT_EQ(have, std::min<int64_t>(rank, 15)) << rank;
  }
}

// More ranks than outputs, than inputs, and both; and far apart.
TEST_P(SpectralMethodsTest, AnyShapeAndAnyRanks) {
  const std::vector<std::vector<int64_t>> shapes = {
      // out, in, ranks
      {12, 80, 8, 8}, {80, 12, 8, 8}, {9, 7, 16, 4, 5}, {300, 280, 1, 256, 40},
      {1, 30, 4, 2},  {30, 1, 4, 2},  {40, 40, 1},      {5, 5, 1, 1, 1},
  };
  for (const std::vector<int64_t>& shape : shapes) {
    Terms terms;
    for (size_t i = 2; i < shape.size(); ++i) {
      terms.push_back(RandomTerm(shape[0], shape[1], shape[i], i,
                                 /*weight=*/1.5 - static_cast<double>(i) / 4));
    }
    const at::Tensor merged = Merge(terms, 512);
    EXPECT_GT(Norm(merged), 0) << shape[0] << " x " << shape[1];
    if (GetParam().linear && GetParam().name != "tsv") {
      EXPECT_LE(RelativeError(merged, DenseSum(terms)), 4 * kTolerance)
          << shape[0] << " x " << shape[1];
    }
    Merge(terms, 2);
  }
}

TEST_P(SpectralMethodsTest, FiniteFromSkillsOfAnySize) {
  for (const double size : {1e-15, 1e-8, 1e8, 1e15}) {
    Terms terms = SomeTerms();
    for (MergeTerm& term : terms) {
      term.a = term.a * size;
      term.b = term.b * size;
    }
    EXPECT_GT(Norm(Merge(terms, 6)), 0) << size;
    // One of them alone: skills of very different strength.
    terms = SomeTerms();
    terms[0].b = terms[0].b * size;
    Merge(terms, 6);
  }
}

TEST_P(SpectralMethodsTest, ThreadsDoNotMatter) {
  const Terms terms = {RandomTerm(700, 600, 40, 1), RandomTerm(700, 600, 24, 2),
                       RandomTerm(700, 600, 40, 3, 0.5)};
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const LowRank one = GetParam().merge(terms, 16);
  const LowRank again = GetParam().merge(terms, 16);
  at::set_num_threads(3);
  const LowRank three = GetParam().merge(terms, 16);
  at::set_num_threads(before);
  EXPECT_TRUE(at::equal(one.a, again.a));
  EXPECT_TRUE(at::equal(one.b, again.b));
  if (GetParam().name.ends_with("elect")) {
    // Where skills nearly cancel, rounding turns an elected sign over: an entry
    // in ten thousand.
    EXPECT_LE(RelativeError(Dense(three), Dense(one)), 0.03);
    return;
  }
  // The factors themselves, not only their product: signs are fixed. Flat
  // spectra make the last singular vectors wander more than the product.
  EXPECT_LE(RelativeError(three.a, one.a), 1e-3);
  EXPECT_LE(RelativeError(three.b, one.b), 1e-3);
  EXPECT_LE(RelativeError(Dense(three), Dense(one)), 2e-5);
}

INSTANTIATE_TEST_SUITE_P(All, SpectralMethodsTest,
                         ::testing::ValuesIn(Methods()),
                         [](const auto& info) { return info.param.name; });

TEST(SvdTest, IsTheBestApproximation) {
  const Terms terms = SomeTerms();
  const at::Tensor dense = DenseSum(terms);
  const at::Tensor sigma = std::get<1>(dense.svd());
  for (const int64_t rank : {1, 3, 8}) {
    const double error = Norm(Dense(MergeSvd(terms, rank)) - dense);
    const double least = Norm(sigma.narrow(0, rank, kIn - rank));
    EXPECT_NEAR(error, least, 1e-5 * Norm(dense)) << rank;
  }
}

TEST(SvdTest, FactorsAreSingularVectorsWithFixedSigns) {
  const LowRank svd = MergeSvd(SomeTerms(), 6);
  const at::Tensor gram_a = svd.a.matmul(svd.a.t()).to(at::kDouble);
  EXPECT_LE(Norm(gram_a - at::eye(6, at::kDouble)), 1e-5);
  const at::Tensor gram_b = svd.b.t().matmul(svd.b).to(at::kDouble);
  const at::Tensor sigma = gram_b.diagonal().sqrt();
  EXPECT_LE(RelativeError(gram_b, sigma.square().diag()), 1e-5);
  EXPECT_TRUE(
      (sigma.narrow(0, 0, 5) >= sigma.narrow(0, 1, 5)).all().item<bool>());
  const at::Tensor largest =
      svd.a.gather(1, svd.a.abs().argmax(1, /*keepdim=*/true));
  EXPECT_TRUE((largest > 0).all().item<bool>());
}

// PEFT up to 0.20 gave 4 dW here (its pull request 3111).
TEST(SvdTest, ScaleCountsOnce) {
  const Terms terms = {RandomTerm(kOut, kIn, 6, 1, /*weight=*/1, /*scale=*/2)};
  const at::Tensor want = Dense(LowRank{terms[0].a, terms[0].b}) * 2;
  EXPECT_LE(RelativeError(Dense(MergeSvd(terms, 6)), want), kTolerance);
  // The same with a rank that nothing uses, so that it is computed.
  Terms padded = terms;
  padded.push_back(ZeroTerm(kOut, kIn, 2));
  EXPECT_LE(RelativeError(Dense(MergeSvd(padded, 6)), want), kTolerance);
}

TEST(TsvTest, OrthogonalSkillsAddUp) {
  // Disjoint inputs and outputs: already orthogonal, so nothing changes.
  Terms terms = {RandomTerm(kOut, kIn, 4, 1), RandomTerm(kOut, kIn, 4, 2)};
  terms[0].b.narrow(0, 0, kOut / 2).zero_();
  terms[1].b.narrow(0, kOut / 2, kOut / 2).zero_();
  terms[0].a.narrow(1, 0, kIn / 2).zero_();
  terms[1].a.narrow(1, kIn / 2, kIn / 2).zero_();
  EXPECT_LE(RelativeError(Dense(MergeTsv(terms)), DenseSum(terms)), kTolerance);
}

TEST(IsoTest, SpectrumIsFlatAndKeepsItsSum) {
  const Terms terms = SomeTerms();
  const at::Tensor before = std::get<1>(DenseSum(terms).svd());
  const at::Tensor after = std::get<1>(Dense(MergeIso(terms)).svd());
  EXPECT_NEAR(after.sum().item<double>(), before.sum().item<double>(),
              1e-5 * before.sum().item<double>());
  const at::Tensor flat = after.narrow(0, 0, 15);
  EXPECT_LE(Norm(flat - flat.mean()), 1e-5 * Norm(flat));
}

TEST(PicoTest, OneSkillIsLeftAlone) {
  const Terms terms = {RandomTerm(kOut, kIn, 5, 1, 0.7)};
  EXPECT_TRUE(at::equal(CalibratedTerms(terms)[0].b, terms[0].b));
  EXPECT_LE(RelativeError(Dense(Rescaled(Concatenate(terms), terms)),
                          DenseSum(terms)),
            kTolerance);
}

// One shared direction: alpha = 1 / (1 + (T - 1)) there.
TEST(PicoTest, ASharedDirectionIsDividedByTheNumberOfSkills) {
  const MergeTerm skill = RandomTerm(kOut, kIn, 1, 1);
  const Terms terms = {skill, skill, skill, skill};
  for (const MergeTerm& term : CalibratedTerms(terms)) {
    EXPECT_LE(RelativeError(term.b, skill.b / 4), kTolerance);
    EXPECT_TRUE(at::equal(term.a, skill.a));
  }
}

TEST(CompressThenMergeTest, BetaZeroIgnoresHowStrongSkillsAre) {
  Terms terms = {RandomTerm(kOut, kIn, 3, 1), RandomTerm(kOut, kIn, 3, 2)};
  const TuckerOptions equal{.beta = 0, .max_iterations = 200, .tolerance = 0};
  // The part of the weak skill that survives, relative to the skill.
  const auto weak_part = [&](const TuckerOptions& options) {
    const EntryRule second = [](absl::Span<const at::Tensor> cores,
                                absl::Span<const double>) { return cores[1]; };
    return Norm(Dense(CompressThenMerge(terms, 4, second, options))) /
           Norm(Dense(terms[1]));
  };
  const double as_it_is = weak_part(equal);
  terms[1].scale *= 0.01;
  EXPECT_NEAR(weak_part(equal), as_it_is, 1e-4);
  TuckerOptions by_strength = equal;
  by_strength.beta = 1;
  EXPECT_LT(weak_part(by_strength), 0.9 * as_it_is);
}

}  // namespace
}  // namespace stockpot
