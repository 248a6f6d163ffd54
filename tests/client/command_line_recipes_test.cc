// recipe save, list, show, rm and alias, and generate --saved-recipe.

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <nlohmann/json.hpp>

#include "tests/client/fake_stockpotd.h"

namespace stockpot::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

class RecipeCommandsTest : public ::testing::Test {
 protected:
  CommandResult Run(std::vector<std::string> args,
                    const CommandWorld& world = {}) {
    return RunStockpot(daemon_, std::move(args), world);
  }

  FakeStockpotd daemon_;
};

TEST_F(RecipeCommandsTest, SaveSendsTheRecipeAndPrintsWhatItMeans) {
  const CommandResult result =
      Run({"recipe", "save", "mix", "--recipe", "facts=1,json=0.8", "--label",
           "team=demo", "--description", "two", "--module-weight",
           "facts:*.mlp.*=0.5", "--alias", "prod"});
  ASSERT_EQ(result.code, kExitOk) << result.err;
  ASSERT_EQ(daemon_.registry.saves.size(), 1U);
  const v1::SaveRecipeRequest& request = daemon_.registry.saves[0];
  EXPECT_EQ(request.name(), "mix");
  EXPECT_FALSE(request.has_version());
  ASSERT_EQ(request.recipe().skills_size(), 2);
  EXPECT_EQ(request.recipe().skills(1).adapter(), "json");
  EXPECT_EQ(request.recipe().skills(0).module_weights(0).modules(), "*.mlp.*");
  EXPECT_THAT(request.labels(), ElementsAre(Pair("team", "demo")));
  EXPECT_EQ(request.description(), "two");
  ASSERT_EQ(daemon_.registry.set_aliases.size(), 1U);
  EXPECT_EQ(daemon_.registry.set_aliases[0].alias(), "prod");
  EXPECT_EQ(result.out, "mix@1  d1ge57  cat  facts@1=1,json@1=0.8\n");
}

TEST_F(RecipeCommandsTest, SaveRefusesBeforeItCalls) {
  EXPECT_EQ(Run({"recipe", "save", "mix", "--recipe", "facts=x"}).code,
            kExitInvalidArgument);
  EXPECT_EQ(Run({"recipe", "save"}).code, kExitUsage);
  EXPECT_EQ(Run({"recipe"}).code, kExitUsage);
  EXPECT_THAT(daemon_.registry.saves, IsEmpty());
}

TEST_F(RecipeCommandsTest, ListGoesThroughAllPages) {
  for (const char* name : {"a", "b", "c"}) {
    ASSERT_EQ(Run({"recipe", "save", name, "--skill", "facts"}).code, kExitOk);
  }
  const CommandResult result =
      Run({"recipe", "list", "--prefix", "x", "--label", "k=v"});
  ASSERT_EQ(result.code, kExitOk) << result.err;
  const std::vector<std::string> lines = absl::StrSplit(result.out, '\n');
  ASSERT_EQ(lines.size(), 5U);
  EXPECT_THAT(lines[3], AllOf(HasSubstr("c"), HasSubstr("facts@1=1")));
  ASSERT_EQ(daemon_.registry.recipe_lists.size(), 3U);
  EXPECT_EQ(daemon_.registry.recipe_lists[2].name_prefix(), "x");
  const CommandResult json = Run({"recipe", "list", "--json"});
  EXPECT_EQ(nlohmann::json::parse(
                std::string(*absl::StrSplit(json.out, '\n').begin()))["name"],
            "a");
}

TEST_F(RecipeCommandsTest, ShowHasEachSkill) {
  ASSERT_EQ(Run({"recipe", "save", "mix", "--recipe", "facts=1,json=-2"}).code,
            kExitOk);
  EXPECT_THAT(Run({"recipe", "show", "mix"}).out,
              AllOf(HasSubstr("facts@1=1"), HasSubstr("json@1=-2")));
  const auto json =
      nlohmann::json::parse(Run({"recipe", "show", "mix", "--json"}).out);
  EXPECT_EQ(json["resolved"]["skills"][1]["weight"], -2);
  EXPECT_EQ(Run({"recipe", "show", "nobody"}).code, kExitNotFound);
}

TEST_F(RecipeCommandsTest, RmDeletesOneVersionAndAsksOnATerminal) {
  ASSERT_EQ(Run({"recipe", "save", "mix"}).code, kExitOk);
  EXPECT_EQ(Run({"recipe", "rm", "mix", "--yes"}).code, kExitUsage);
  EXPECT_EQ(Run({"recipe", "rm", "mix@1"}).code, kExitUsage);
  EXPECT_EQ(
      Run({"recipe", "rm", "mix@1"}, {.in = "n\n", .in_is_terminal = true})
          .code,
      kExitCancelled);
  EXPECT_THAT(daemon_.registry.deleted_recipes, IsEmpty());
  EXPECT_EQ(Run({"recipe", "rm", "mix@1", "--yes"}).out,
            "deleted recipe mix@1\n");
  EXPECT_THAT(daemon_.registry.deleted_recipes, ElementsAre("mix@1"));
}

TEST_F(RecipeCommandsTest, AliasIsSetAndRemoved) {
  ASSERT_EQ(Run({"recipe", "save", "mix"}).code, kExitOk);
  EXPECT_EQ(Run({"recipe", "alias", "mix", "prod", "1"}).out,
            "mix@prod -> mix@1\n");
  EXPECT_EQ(Run({"recipe", "alias", "mix", "prod", "9"}).code, kExitNotFound);
  EXPECT_EQ(Run({"recipe", "alias", "--rm", "mix", "prod"}).out,
            "removed mix@prod\n");
  EXPECT_EQ(daemon_.registry.deleted_aliases.size(), 1U);
}

TEST_F(RecipeCommandsTest, GenerateNamesASavedRecipeInsteadOfWritingOne) {
  daemon_.generation.events.emplace_back().mutable_finish();
  ASSERT_EQ(Run({"generate", "hi", "--saved-recipe", "mix@prod"}).code,
            kExitOk);
  EXPECT_EQ(daemon_.generation.request.saved_recipe(), "mix@prod");
  EXPECT_EQ(
      Run({"generate", "hi", "--saved-recipe", "mix", "--recipe", "a"}).code,
      kExitInvalidArgument);
}

}  // namespace
}  // namespace stockpot::testing
