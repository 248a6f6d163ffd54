#include "bench/workload.h"

#include "gmock/gmock.h"

#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::Ge;
using ::testing::Lt;

WorkloadOptions Options(uint64_t seed) {
  return {.prompt_length = *LengthDistribution::Parse("uniform:8-16"),
          .output_length = *LengthDistribution::Parse("fixed:5"),
          .recipes = *RecipeMix::Make({.skills = {"a", "b", "c"},
                                       .skills_per_recipe = 2,
                                       .num_recipes = 3,
                                       .popularity = "distinct"}),
          .skill_weight = 0.5,
          .first_token_id = 10,
          .vocabulary = 20,
          .seed = seed};
}

TEST(WorkloadTest, ARequestDependsOnSeedAndNumberAlone) {
  const Workload a(Options(1)), b(Options(1)), other(Options(2));
  b.Request(0);
  EXPECT_EQ(a.Request(4).SerializeAsString(), b.Request(4).SerializeAsString());
  EXPECT_NE(a.Request(4).SerializeAsString(), a.Request(7).SerializeAsString());
  EXPECT_NE(a.Request(4).SerializeAsString(),
            other.Request(4).SerializeAsString());
}

TEST(WorkloadTest, RequestHasTheLengthsIdsAndRecipeAskedFor) {
  const Workload workload(Options(1));
  const stockpot::v1::GenerateRequest request = workload.Request(1);
  EXPECT_THAT(request.prompt().token_ids().ids_size(), AllOf(Ge(8), Lt(17)));
  EXPECT_THAT(request.prompt().token_ids().ids(),
              Each(AllOf(Ge(10u), Lt(20u))));
  EXPECT_EQ(request.limits().max_new_tokens(), 5u);
  EXPECT_TRUE(request.limits().ignore_eos());
  ASSERT_EQ(request.recipe().skills_size(), 2);
  EXPECT_EQ(request.recipe().skills(0).adapter(), "b");
  EXPECT_EQ(request.recipe().skills(1).adapter(), "c");
  EXPECT_EQ(request.recipe().skills(0).weight(), 0.5f);
}

TEST(WorkloadTest, WithoutSkillsTheRecipeIsUnset) {
  WorkloadOptions options = Options(1);
  options.recipes = *RecipeMix::Make({});
  EXPECT_EQ(Workload(options).Request(0).recipe_choice_case(),
            stockpot::v1::GenerateRequest::RECIPE_CHOICE_NOT_SET);
}

}  // namespace
}  // namespace stockpot
