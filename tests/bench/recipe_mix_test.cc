#include "bench/recipe_mix.h"

#include <map>
#include <random>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"

#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::StatusIs;
using ::testing::HasSubstr;

RecipeMixOptions Options(int num_skills, int32_t per_recipe,
                         int32_t num_recipes) {
  RecipeMixOptions options{
      .skills_per_recipe = per_recipe, .num_recipes = num_recipes, .seed = 3};
  for (int i = 0; i < num_skills; ++i) {
    options.skills.push_back(absl::StrCat("skill", i));
  }
  return options;
}

std::vector<std::vector<int32_t>> RecipesOf(const RecipeMix& mix) {
  std::vector<std::vector<int32_t>> recipes;
  for (int32_t i = 0; i < mix.num_recipes(); ++i) {
    recipes.push_back(mix.recipe(i));
  }
  return recipes;
}

TEST(RecipeMixTest, EightPairsOverEightSkillsUseEachSkillTwice) {
  const auto mix = RecipeMix::Make(Options(8, 2, 8));
  ASSERT_THAT(mix, IsOk());
  std::map<int32_t, int> uses;
  for (const auto& recipe : RecipesOf(*mix)) {
    ASSERT_EQ(recipe.size(), 2u);
    for (const int32_t skill : recipe) {
      ++uses[skill];
    }
  }
  EXPECT_EQ(uses.size(), 8u);
  for (const auto& [skill, count] : uses) {
    EXPECT_EQ(count, 2) << skill;
  }
}

TEST(RecipeMixTest, AllRecipesDifferEvenWhenAllThereAreAreAskedFor) {
  for (const auto& [n, k, count] :
       {std::tuple(8, 2, 28), std::tuple(6, 6, 1), std::tuple(5, 1, 5),
        std::tuple(200, 4, 3000)}) {
    const auto mix = RecipeMix::Make(Options(n, k, count));
    ASSERT_THAT(mix, IsOk());
    const auto recipes = RecipesOf(*mix);
    EXPECT_EQ(recipes.size(), static_cast<size_t>(count));
    EXPECT_EQ(std::set(recipes.begin(), recipes.end()).size(), recipes.size());
    for (const auto& recipe : recipes) {
      EXPECT_EQ(std::set(recipe.begin(), recipe.end()).size(),
                static_cast<size_t>(k));
    }
  }
}

TEST(RecipeMixTest, EqualSeedsGiveEqualRecipes) {
  const auto a = RecipeMix::Make(Options(12, 3, 100));
  const auto b = RecipeMix::Make(Options(12, 3, 100));
  ASSERT_THAT(a, IsOk());
  ASSERT_THAT(b, IsOk());
  EXPECT_EQ(RecipesOf(*a), RecipesOf(*b));
}

std::vector<int> CountChoices(absl::string_view popularity, int num_requests) {
  RecipeMixOptions options = Options(4, 1, 4);
  options.popularity = std::string(popularity);
  const auto mix = RecipeMix::Make(options);
  EXPECT_THAT(mix, IsOk());
  std::mt19937_64 random(1);
  std::vector<int> counts(4);
  for (int i = 0; i < num_requests; ++i) {
    ++counts[mix->Choose(i, random)];
  }
  return counts;
}

TEST(RecipeMixTest, PopularityDecidesHowOftenARecipeIsChosen) {
  EXPECT_EQ(CountChoices("identical", 8), std::vector<int>({8, 0, 0, 0}));
  EXPECT_EQ(CountChoices("distinct", 8), std::vector<int>({2, 2, 2, 2}));
  for (const int count : CountChoices("uniform", 4000)) {
    EXPECT_NEAR(count, 1000, 120);
  }
  // 1, 1/2, 1/3, 1/4 of 12/25.
  const std::vector<int> zipf = CountChoices("zipf:1", 10000);
  EXPECT_NEAR(zipf[0], 4800, 250);
  EXPECT_NEAR(zipf[3], 1200, 150);
}

TEST(RecipeMixTest, WithoutSkillsEveryRequestIsForTheBase) {
  const auto mix = RecipeMix::Make({});
  ASSERT_THAT(mix, IsOk());
  std::mt19937_64 random(1);
  EXPECT_EQ(mix->Choose(0, random), -1);
}

TEST(RecipeMixTest, RefusesWhatCannotBe) {
  RecipeMixOptions options = Options(3, 4, 1);
  EXPECT_THAT(RecipeMix::Make(options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("skills per recipe 4: expected 1..3")));
  options = Options(4, 2, 7);
  EXPECT_THAT(RecipeMix::Make(options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("recipes 7: expected 1..6")));
  for (const char* popularity : {"", "zipf", "zipf:-1", "zipf:x", "even"}) {
    options = Options(4, 2, 2);
    options.popularity = popularity;
    EXPECT_THAT(
        RecipeMix::Make(options),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("popularity")));
  }
}

}  // namespace
}  // namespace stockpot
