#include "client/recipe_text.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

TEST(RecipeTextTest, SkillsKeepTheirOrderAndWeights) {
  v1::Recipe recipe;
  ASSERT_THAT(
      AddSkills("facts=1, json@prod = 0.8,x@3=-.5,sha256:ab=2e-1", recipe),
      IsOk());
  ASSERT_EQ(recipe.skills_size(), 4);
  EXPECT_EQ(recipe.skills(0).adapter(), "facts");
  EXPECT_EQ(recipe.skills(0).weight(), 1.0f);
  EXPECT_EQ(recipe.skills(1).adapter(), "json@prod");
  EXPECT_EQ(recipe.skills(1).weight(), 0.8f);
  EXPECT_EQ(recipe.skills(2).adapter(), "x@3");
  EXPECT_EQ(recipe.skills(2).weight(), -0.5f);
  EXPECT_EQ(recipe.skills(3).adapter(), "sha256:ab");
  EXPECT_EQ(recipe.skills(3).weight(), 0.2f);
}

TEST(RecipeTextTest, WeightDefaultsToOneAndEmptyTextToTheBase) {
  v1::Recipe recipe;
  ASSERT_THAT(AddSkills("  ", recipe), IsOk());
  EXPECT_EQ(recipe.skills_size(), 0);
  ASSERT_THAT(AddSkill("facts", recipe), IsOk());
  EXPECT_EQ(recipe.skills(0).weight(), 1.0f);
}

TEST(RecipeTextTest, BadSkillsAreRefused) {
  v1::Recipe recipe;
  for (const char* text : {"facts=", "facts=x", "facts=nan", "facts=inf",
                           "facts=101", "facts=-100.1", "facts=1e30"}) {
    EXPECT_THAT(AddSkills(text, recipe),
                StatusIs(kInvalid, HasSubstr("[-100, 100]")))
        << text;
  }
  for (const char* text : {"=1", "a,,b", "a,"}) {
    EXPECT_THAT(AddSkills(text, recipe),
                StatusIs(kInvalid, HasSubstr("ADAPTER=WEIGHT")))
        << text;
  }
}

TEST(RecipeTextTest, SixtyFiveSkillsAreTooMany) {
  v1::Recipe recipe;
  for (int i = 0; i < 64; ++i) {
    ASSERT_THAT(AddSkill(absl::StrCat("s", i), recipe), IsOk());
  }
  EXPECT_THAT(AddSkill("s64", recipe), StatusIs(kInvalid, HasSubstr("64")));
  EXPECT_EQ(recipe.skills_size(), 64);
}

TEST(RecipeTextTest, ModuleWeightGoesToTheSkillThatItNames) {
  v1::Recipe recipe;
  ASSERT_THAT(AddSkills("facts,json=0.5,sha256:ab", recipe), IsOk());
  ASSERT_THAT(AddModuleWeight("json:model.layers.{0,1}.mlp.*=0.25", recipe),
              IsOk());
  ASSERT_THAT(AddModuleWeight("sha256:ab:lm_head=-1", recipe), IsOk());
  EXPECT_EQ(recipe.skills(0).module_weights_size(), 0);
  ASSERT_EQ(recipe.skills(1).module_weights_size(), 1);
  EXPECT_EQ(recipe.skills(1).module_weights(0).modules(),
            "model.layers.{0,1}.mlp.*");
  EXPECT_EQ(recipe.skills(1).module_weights(0).weight(), 0.25f);
  ASSERT_EQ(recipe.skills(2).module_weights_size(), 1);
  EXPECT_EQ(recipe.skills(2).module_weights(0).modules(), "lm_head");
}

TEST(RecipeTextTest, BadModuleWeightsAreRefused) {
  v1::Recipe recipe;
  ASSERT_THAT(AddSkill("facts", recipe), IsOk());
  for (const char* text : {"facts", "facts:*", "facts=1", ":*=1", "facts:=1"}) {
    EXPECT_THAT(AddModuleWeight(text, recipe),
                StatusIs(kInvalid, HasSubstr("ADAPTER:GLOB=WEIGHT")))
        << text;
  }
  EXPECT_THAT(AddModuleWeight("facts:*=1e9", recipe),
              StatusIs(kInvalid, HasSubstr("[-100, 100]")));
  EXPECT_THAT(AddModuleWeight("json:*=1", recipe),
              StatusIs(kInvalid, HasSubstr("no skill 'json'")));
}

TEST(RecipeTextTest, JsonIsProtobufs) {
  v1::Recipe recipe;
  ASSERT_THAT(ParseRecipeJson(R"({"skills": [{"adapter": "a", "weight": 0.5}],
                                  "ties": {"density": 0.2}})",
                              recipe),
              IsOk());
  EXPECT_EQ(recipe.skills(0).adapter(), "a");
  EXPECT_EQ(recipe.ties().density(), 0.2f);
  EXPECT_THAT(ParseRecipeJson(R"({"skils": []})", recipe),
              StatusIs(kInvalid, HasSubstr("skils")));
  EXPECT_THAT(ParseRecipeJson("{", recipe), StatusIs(kInvalid, HasSubstr("")));
}

}  // namespace
}  // namespace stockpot
