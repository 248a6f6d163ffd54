#include "merge/composability.h"

#include <memory>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/sha256.h"
#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::vector<BaseModule> Modules() {
  return {{"layers.0.q", 8, 8}, {"layers.0.v", 8, 8}};
}

// A skill and its adapter, which adapts only layers.0.q.
struct Part {
  SkillSpec skill;
  std::shared_ptr<Adapter> adapter;
};
Part MakePart(const char* name, float weight, const char* alone = "",
              bool has_bias = false) {
  auto adapter = std::make_shared<Adapter>();
  adapter->digest = Sha256::Of(name);
  adapter->scales = {1, 0};
  adapter->alone_because = alone;
  adapter->has_bias = has_bias;
  return {{adapter->digest, weight, {}}, adapter};
}

absl::Status Check(const std::vector<Part>& parts,
                   MergeMethod method = MergeMethod::kCat) {
  std::vector<SkillSpec> specs;
  for (const Part& part : parts) specs.push_back(part.skill);
  MergeOptions options;
  options.method = method;
  const auto recipe =
      Recipe::Create(specs, options, Modules(), Sha256::Of("base"));
  if (!recipe.ok()) return recipe.status();
  std::vector<ComposedSkill> skills;
  for (const RecipeSkill& skill : recipe->skills()) {
    for (const Part& part : parts) {
      if (part.adapter->digest == skill.adapter) {
        skills.push_back({part.adapter});
      }
    }
  }
  return CheckComposable(*recipe, skills);
}

auto IsRefused(const char* problem) {
  return StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(problem));
}

TEST(ComposabilityTest, PlainAdaptersMixAtAnyWeight) {
  EXPECT_THAT(Check({MakePart("a", -2), MakePart("b", 0.5f)}), IsOk());
}

TEST(ComposabilityTest, WhatRunsAloneDoesSoAtWeightOne) {
  const char why[] = "it says why";
  EXPECT_THAT(Check({MakePart("a", 1, why)}), IsOk());
  EXPECT_THAT(Check({MakePart("a", 0.5f, why)}),
              IsRefused("a weight other than 1"));
  EXPECT_THAT(
      Check({MakePart("a", 1, why), MakePart("b", 1)}),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               AllOf(HasSubstr("mixed with other adapters"), HasSubstr(why),
                     HasSubstr(Sha256::Of("a").ToHex()))));
  EXPECT_THAT(Check({MakePart("a", 1, why)}, MergeMethod::kSvd),
              IsRefused("a method other than cat"));
}

TEST(ComposabilityTest, AWeightWhereTheAdapterDoesNothingIsNoMatter) {
  Part part = MakePart("a", 1, "alone");
  part.skill.module_weights = {{"layers.0.v", 3}};
  EXPECT_THAT(Check({part}), IsOk());
  part.skill.module_weights = {{"layers.0.q", 3}};
  EXPECT_THAT(Check({part}), IsRefused("a weight other than 1"));
}

TEST(ComposabilityTest, BiasesAreForCat) {
  const Part biased = MakePart("a", 0.5f, "", /*has_bias=*/true);
  EXPECT_THAT(Check({biased, MakePart("b", 1)}), IsOk());
  EXPECT_THAT(Check({biased, MakePart("b", 1)}, MergeMethod::kLinear),
              IsRefused("adds biases (lora_bias)"));
}

// An adapter that holds rows of layers.0.v; of all tokens if none is given.
Part MakeRows(const char* name, float weight, std::vector<int64_t> tokens) {
  Part part = MakePart(name, weight);
  part.adapter->scales = {1, 1};
  part.adapter->replaced = {{1, std::move(tokens)}};
  return part;
}

TEST(ComposabilityTest, EachRowHasOneOwnerAtWeightOne) {
  EXPECT_THAT(Check({MakeRows("a", 1, {2, 5}), MakeRows("b", 1, {3, 6}),
                     MakePart("c", 0.5f)}),
              IsOk());
  EXPECT_THAT(Check({MakeRows("a", 1, {2, 5}), MakeRows("b", 1, {3, 5})}),
              IsRefused("token 5 would have two"));
  EXPECT_THAT(Check({MakeRows("a", 1, {}), MakeRows("b", 1, {3, 5})}),
              IsRefused("token 3 would have two"));
  EXPECT_THAT(Check({MakeRows("a", 1, {}), MakeRows("b", 1, {})}),
              IsRefused("would have two"));
  EXPECT_THAT(Check({MakeRows("a", -1, {2})}), IsRefused("a share of -1"));
  EXPECT_THAT(Check({MakeRows("a", 1, {2})}, MergeMethod::kLinear),
              IsRefused("Use cat"));
}

TEST(ComposabilityTest, RowsLeftOutByWeightZeroHaveNoPart) {
  Part left_out = MakeRows("a", 0.3f, {2});
  left_out.skill.module_weights = {{"layers.0.v", 0}};
  EXPECT_THAT(Check({left_out, MakeRows("b", 1, {2})}), IsOk());
  EXPECT_THAT(Check({left_out}, MergeMethod::kSvd), IsOk());
}

}  // namespace
}  // namespace stockpot
