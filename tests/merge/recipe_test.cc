#include "merge/recipe.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/sha256.h"
#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

Digest Named(const std::string& name) { return Sha256::Of(name); }

const Digest kBase = Named("base");

// layers.{0,1}.{attn.q,attn.v,mlp}, lm_head
std::vector<BaseModule> Modules() {
  std::vector<BaseModule> modules;
  for (int i = 0; i < 2; ++i) {
    for (const char* name : {"attn.q", "attn.v", "mlp"}) {
      modules.push_back({absl::StrCat("layers.", i, ".", name), 8, 8, false});
    }
  }
  modules.push_back({"lm_head", 8, 16, true});
  return modules;
}

absl::StatusOr<Recipe> TryMake(const std::vector<SkillSpec>& skills) {
  return Recipe::Create(skills, MergeMethod::kCat, Modules(), kBase);
}

Recipe Make(const std::vector<SkillSpec>& skills) {
  absl::StatusOr<Recipe> recipe = TryMake(skills);
  EXPECT_THAT(recipe, IsOk());
  return recipe.ok() ? *recipe : Recipe();
}

const SkillSpec kA = {Named("a"), 0.5f, {}};
const SkillSpec kB = {Named("b"), -2, {}};

auto IsInvalid(const std::string& part) {
  return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(part));
}

TEST(RecipeTest, OrderDoesNotChangeTheDigest) {
  const Recipe ab = Make({kA, kB});
  const Recipe ba = Make({kB, kA});
  EXPECT_EQ(ab.digest(), ba.digest());
  ASSERT_EQ(ab.skills().size(), 2);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(ab.skills()[i].adapter, ba.skills()[i].adapter);
    EXPECT_EQ(ab.skills()[i].weights, ba.skills()[i].weights);
  }
  EXPECT_LT(ab.skills()[0].adapter, ab.skills()[1].adapter);
}

TEST(RecipeTest, ZeroWeightsAreDropped) {
  const Digest alone = Make({kA}).digest();
  EXPECT_EQ(Make({kA, {Named("b"), 0, {}}}).digest(), alone);
  EXPECT_EQ(Make({kA, {Named("b"), -0.0f, {}}}).digest(), alone);
  EXPECT_EQ(Make({kA, {Named("b"), 1, {{"**", 0}}}}).digest(), alone);
  EXPECT_EQ(Make({kA, {Named("b"), 3, {}}, {Named("b"), -3, {}}}).digest(),
            alone);
}

TEST(RecipeTest, ARecipeOfZerosIsTheBase) {
  EXPECT_TRUE(Make({}).is_base());
  EXPECT_TRUE(Make({{Named("a"), 0, {}}}).is_base());
  EXPECT_EQ(Make({}).digest(), Make({{Named("a"), 0, {}}}).digest());
  EXPECT_TRUE(Recipe().is_base());
  EXPECT_FALSE(Make({kA}).is_base());
}

TEST(RecipeTest, RepeatedSkillsAreAddedUp) {
  const Digest once = Make({{Named("a"), 2, {}}, kB}).digest();
  EXPECT_EQ(Make({{Named("a"), 1.5f, {}}, kB, {Named("a"), 0.5f, {}}}).digest(),
            once);
  // Also where their modules differ.
  EXPECT_EQ(
      Make({{Named("a"), 1, {{"**.mlp", 0}}}, {Named("a"), 1, {}}}).digest(),
      Make({{Named("a"), 2, {{"**.mlp", 0.5f}}}}).digest());
}

TEST(RecipeTest, OrderOfRepeatedSkillsDoesNotShow) {
  // Float64 loses another part of the small ones in each order.
  std::vector<float> weights = {100,    -100,    1e-20f, 1e-9f, 33.3f,
                                -33.3f, -7e-12f, 0.1f,   -0.1f, 1e-30f};
  std::mt19937 random(3);
  const auto make = [&] {
    std::vector<SkillSpec> skills;
    for (const float w : weights) skills.push_back({Named("a"), w, {}});
    return Make(skills);
  };
  const Recipe first = make();
  for (int i = 0; i < 50; ++i) {
    std::shuffle(weights.begin(), weights.end(), random);
    const Recipe again = make();
    ASSERT_EQ(again.digest(), first.digest());
    ASSERT_EQ(again.skills()[0].weights, first.skills()[0].weights);
  }
}

TEST(RecipeTest, EquivalentSpellingsOfModuleWeightsAreOneRecipe) {
  const Digest expected =
      Make({{Named("a"),
             1,
             {{"layers.0.attn.q", 0.5f}, {"layers.1.attn.q", 0.5f}}}})
          .digest();
  for (const std::vector<ModuleWeight>& spelling :
       std::vector<std::vector<ModuleWeight>>{
           {{"layers.*.attn.q", 0.5f}},
           {{"**.q", 0.5f}},
           {{"layers.{0,1}.attn.q", 0.5f}},
           {{"layers.?.attn.q", 0.5f}},
           {{"**", 0.5f}, {"**.{v,mlp}", 1}, {"lm_head", 1}},
           {{"**.q", 7}, {"layers.*.attn.q", 0.5f}}}) {
    EXPECT_EQ(Make({{Named("a"), 1, spelling}}).digest(), expected)
        << spelling[0].pattern;
  }
  // The product of the two weights counts.
  EXPECT_EQ(Make({{Named("a"), 2, {{"**", 0.5f}, {"**.q", 0.25f}}}}).digest(),
            expected);
}

TEST(RecipeTest, LastMatchWinsAndTheRestKeepsTheSkillsWeight) {
  const Recipe recipe =
      Make({{Named("a"), 2, {{"layers.0.**", 3}, {"layers.0.attn.v", -1}}}});
  ASSERT_EQ(recipe.skills().size(), 1);
  EXPECT_THAT(recipe.skills()[0].weights, ElementsAre(6, -2, 6, 2, 2, 2, 2));
}

TEST(RecipeTest, EveryPartOfTheMeaningChangesTheDigest) {
  const Digest digest = Make({kA, kB}).digest();
  EXPECT_NE(Make({kA}).digest(), digest);
  EXPECT_NE(Make({kA, {Named("c"), -2, {}}}).digest(), digest);
  EXPECT_NE(Make({kA, {Named("b"), 2, {}}}).digest(), digest);
  EXPECT_NE(Make({kA, {Named("b"), std::nextafter(-2.0f, 0.0f), {}}}).digest(),
            digest);
  EXPECT_NE(Make({kA, {Named("b"), -2, {{"lm_head", 0.5f}}}}).digest(), digest);
  // Weights swapped between the skills.
  EXPECT_NE(Make({{Named("a"), -2, {}}, {Named("b"), 0.5f, {}}}).digest(),
            digest);
  const auto other_base =
      Recipe::Create(std::vector<SkillSpec>{kA, kB}, MergeMethod::kCat,
                     Modules(), Named("another base"));
  ASSERT_THAT(other_base, IsOk());
  EXPECT_NE(other_base->digest(), digest);
}

TEST(RecipeTest, SixtyFourSkillsAreAcceptedAndSixtyFiveRefused) {
  std::vector<SkillSpec> skills;
  for (int i = 0; i < 64; ++i) {
    skills.push_back({Named(absl::StrCat(i)), 1, {}});
  }
  EXPECT_EQ(Make(skills).skills().size(), 64);
  skills.push_back({Named("one more"), 1, {}});
  EXPECT_THAT(TryMake(skills),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("65"), HasSubstr("64"))));
  // Also when they would add up to nothing.
  for (SkillSpec& skill : skills) skill.weight = 0;
  EXPECT_THAT(TryMake(skills), IsInvalid("65"));
}

TEST(RecipeTest, WeightsThatAreNotFiniteOrTooLargeAreNamed) {
  EXPECT_THAT(TryMake({{Named("a"), 100, {}}, {Named("b"), -100, {}}}), IsOk());
  for (const float bad : {kNan, -kNan, kInf, -kInf, 1e30f, -1e30f,
                          std::nextafter(100.0f, kInf)}) {
    EXPECT_THAT(TryMake({kA, {Named("b"), bad, {}}}),
                IsInvalid("recipe.skills[1].weight"));
    EXPECT_THAT(TryMake({kA, {Named("b"), 1, {{"**", 1}, {"**.q", bad}}}}),
                IsInvalid("recipe.skills[1].module_weights[1].weight"));
  }
}

TEST(RecipeTest, APatternThatMatchesNothingIsAnError) {
  for (const char* pattern :
       {"layers.2.attn.q", "q", "layers.*", "Layers.0.mlp", "lm_head "}) {
    EXPECT_THAT(
        TryMake({{Named("a"), 1, {{pattern, 1}}}}),
        StatusIs(absl::StatusCode::kInvalidArgument,
                 AllOf(HasSubstr("recipe.skills[0].module_weights[0]"),
                       HasSubstr(pattern), HasSubstr("layers.0.attn.q"))));
  }
}

TEST(RecipeTest, ABadPatternIsAnError) {
  for (const std::string& pattern :
       {std::string(), std::string("{a"), std::string("a}"),
        std::string("{a{b}}"), std::string(10'000, '*'),
        std::string(257, 'a')}) {
    EXPECT_THAT(TryMake({{Named("a"), 1, {{pattern, 1}}}}),
                IsInvalid("module_weights[0]"))
        << pattern.substr(0, 20);
  }
}

TEST(RecipeTest, NumberOfModuleWeightsIsBounded) {
  SkillSpec skill = {Named("a"), 1, {}};
  skill.module_weights.assign(4096, {"lm_head", 0.5f});
  EXPECT_THAT(TryMake({skill}), IsOk());
  skill.module_weights.push_back({"lm_head", 0.5f});
  EXPECT_THAT(TryMake({skill}), IsInvalid("4096"));
}

TEST(RecipeTest, WorkOfWildcardsIsBounded) {
  // Each is fine; together they would cost a megabyte per module.
  SkillSpec skill = {Named("a"), 1, {}};
  skill.module_weights.assign(4096, {"**" + std::string(200, '*') + "q", 1});
  EXPECT_THAT(TryMake({skill}), IsInvalid("wildcard"));
}

TEST(RecipeTest, MethodHasItsName) {
  EXPECT_STREQ(MethodName(MergeMethod::kCat), "cat");
}

}  // namespace
}  // namespace stockpot
