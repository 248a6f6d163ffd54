// CoreSpace: orthonormal bases and nothing lost, whatever the skills.

#include "merge/methods/core_space.h"

#include <ostream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/eye.h>

#include "tests/merge/merge_terms.h"

namespace stockpot {
namespace {

using ::stockpot::testing::Dense;
using ::stockpot::testing::DenseSum;
using ::stockpot::testing::Norm;
using ::stockpot::testing::RandomTerm;
using ::stockpot::testing::RelativeError;
using ::stockpot::testing::ZeroTerm;

constexpr double kTolerance = 5e-6;

struct Stack {
  std::string name;
  std::vector<MergeTerm> terms;
};

void PrintTo(const Stack& stack, std::ostream* out) { *out << stack.name; }

MergeTerm Scaled(MergeTerm term, double factor) {
  term.b = term.b * factor;
  return term;
}

std::vector<Stack> Stacks() {
  const MergeTerm skill = RandomTerm(50, 70, 6, 1);
  MergeTerm collapsed = RandomTerm(50, 70, 6, 3);
  collapsed.b = collapsed.b.narrow(1, 0, 1).expand({50, 6}).contiguous();
  return {
      {"two", {skill, RandomTerm(50, 70, 6, 2)}},
      {"mixed_ranks", {skill, RandomTerm(50, 70, 1, 2, 1, 0.25)}},
      {"duplicates", {skill, skill, skill}},
      {"with_zero", {ZeroTerm(50, 70, 3), skill}},
      {"collapsed_factor", {collapsed, skill}},
      {"more_ranks_than_outputs",
       {RandomTerm(10, 70, 8, 1), RandomTerm(10, 70, 8, 2)}},
      {"more_ranks_than_inputs",
       {RandomTerm(70, 10, 8, 1), RandomTerm(70, 10, 8, 2)}},
      {"rank_256", {RandomTerm(400, 300, 256, 1), RandomTerm(400, 300, 1, 2)}},
      // A hardly trained skill beside a strong one must not drown.
      {"far_apart", {skill, Scaled(RandomTerm(50, 70, 6, 2), 1e-5)}},
  };
}

class CoreSpaceTest : public ::testing::TestWithParam<Stack> {};

TEST_P(CoreSpaceTest, BasesAreOrthonormal) {
  const CoreSpace space(GetParam().terms);
  const at::Tensor u = space.Outputs(at::eye(space.num_outputs(), at::kDouble));
  const at::Tensor v = space.Inputs(at::eye(space.num_inputs(), at::kDouble));
  EXPECT_LE(Norm(u.t().matmul(u) - at::eye(u.size(1), at::kFloat)), 2e-5);
  EXPECT_LE(Norm(v.matmul(v.t()) - at::eye(v.size(0), at::kFloat)), 2e-5);
}

TEST_P(CoreSpaceTest, EverySkillComesBack) {
  const std::vector<MergeTerm>& terms = GetParam().terms;
  const CoreSpace space(terms);
  ASSERT_EQ(space.num_terms(), terms.size());
  for (size_t t = 0; t < terms.size(); ++t) {
    const auto i = static_cast<int64_t>(t);
    EXPECT_LE(RelativeError(Dense(space.Lift(space.Core(i))), Dense(terms[t])),
              kTolerance)
        << t;
  }
  EXPECT_LE(RelativeError(Dense(space.Lift(space.Sum())), DenseSum(terms)),
            kTolerance);
}

TEST_P(CoreSpaceTest, TruncationIsTheBestApproximation) {
  const std::vector<MergeTerm>& terms = GetParam().terms;
  const CoreSpace space(terms);
  const at::Tensor dense = DenseSum(terms);
  const at::Tensor sigma = std::get<1>(dense.svd());
  for (const int64_t rank : {1, 4}) {
    const LowRank lifted = space.Lift(space.Sum(), rank);
    EXPECT_EQ(lifted.a.size(0), rank);
    const double least = Norm(sigma.narrow(0, rank, sigma.size(0) - rank));
    EXPECT_NEAR(Norm(Dense(lifted) - dense), least, 1e-5 * Norm(dense)) << rank;
  }
}

INSTANTIATE_TEST_SUITE_P(All, CoreSpaceTest, ::testing::ValuesIn(Stacks()),
                         [](const auto& info) { return info.param.name; });

// Draws of a mask fall on the same entries wherever a recipe is composed.
TEST(CoreSpaceSignTest, CoresFollowFromTheStackAlone) {
  const std::vector<MergeTerm> terms = {RandomTerm(50, 70, 6, 1),
                                        RandomTerm(50, 70, 4, 2)};
  std::vector<MergeTerm> strided = terms;
  for (MergeTerm& term : strided) {
    term.a = term.a.t().contiguous().t();
    term.b = term.b.t().contiguous().t();
  }
  const std::vector<MergeTerm> swapped = {terms[1], terms[0]};
  const CoreSpace space(terms);
  EXPECT_LE(RelativeError(CoreSpace(strided).Core(0), space.Core(0)), 1e-4);
  EXPECT_LE(RelativeError(CoreSpace(swapped).Core(1), space.Core(0)), 1e-4);
}

}  // namespace
}  // namespace stockpot
