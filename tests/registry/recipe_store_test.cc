// The RecipeStore contract, on disk.

#include "registry/recipe_store.h"

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/digest.h"
#include "base/sha256.h"
#include "registry/adapter_store.h"
#include "tests/registry/rocks_store_fixture.h"
#include "tests/registry/store_fixture.h"
#include "tests/testing/status_matchers.h"

namespace stockpot::testing {
namespace {

using ::testing::_;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr auto kAlreadyExists = absl::StatusCode::kAlreadyExists;
constexpr auto kFailedPrecondition = absl::StatusCode::kFailedPrecondition;
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kNotFound = absl::StatusCode::kNotFound;

class RecipeStoreTest : public RocksStoreTest {
 protected:
  RecipeStoreTest() { EXPECT_THAT(Open(), IsOk()); }

  RecipeStore& recipes() { return store_->recipes(); }

  RecipeSpec Spec(const std::string& name, const std::string& recipe,
                  std::vector<Digest> adapters = {}) {
    RecipeSpec spec;
    spec.name = name;
    spec.recipe = recipe;
    spec.resolved = absl::StrCat("resolved ", recipe);
    spec.adapters = std::move(adapters);
    return spec;
  }

  // The refs "name@version" of a whole listing.
  std::vector<std::string> ListAll(RecipeListOptions options) {
    std::vector<std::string> names;
    do {
      const absl::StatusOr<RecipePage> page = recipes().List(options);
      EXPECT_THAT(page, IsOk());
      if (!page.ok()) {
        break;
      }
      for (const RecipeRecord& record : page->records) {
        names.push_back(absl::StrCat(record.name, "@", record.version));
      }
      options.page_token = page->next_page_token;
    } while (!options.page_token.empty());
    return names;
  }
};

TEST_F(RecipeStoreTest, WhatWasSavedComesBackAlsoAfterAReopen) {
  RecipeSpec spec = Spec("mix", std::string("a\0b", 3));
  spec.labels = {{"team", "demo"}};
  spec.description = "two skills";
  ASSERT_THAT(recipes().Save(spec), IsOk());
  ASSERT_THAT(recipes().SetAlias("mix", "prod", 1), IsOk());
  for (int i = 0; i < 2; ++i) {
    const absl::StatusOr<RecipeRecord> record = recipes().Get(Ref("mix@prod"));
    ASSERT_THAT(record, IsOk());
    EXPECT_EQ(record->name, "mix");
    EXPECT_EQ(record->version, 1);
    EXPECT_EQ(record->recipe, spec.recipe);
    EXPECT_EQ(record->resolved, spec.resolved);
    EXPECT_EQ(record->labels, spec.labels);
    EXPECT_EQ(record->description, spec.description);
    EXPECT_THAT(record->aliases, ElementsAre("prod"));
    ASSERT_THAT(Open(), IsOk());
  }
}

TEST_F(RecipeStoreTest, VersionsAreImmutableAndCountUp) {
  EXPECT_EQ(recipes().Save(Spec("mix", "one"))->version, 1);
  EXPECT_EQ(recipes().Save(Spec("mix", "one"))->version, 1);
  EXPECT_EQ(recipes().Save(Spec("mix", "two"))->version, 2);
  RecipeSpec spec = Spec("mix", "three");
  spec.version = 2;
  EXPECT_THAT(recipes().Save(spec),
              StatusIs(kAlreadyExists, HasSubstr("\"mix@2\" is another")));
  spec.recipe = "two";
  EXPECT_EQ(recipes().Save(spec)->version, 2);
  EXPECT_EQ(recipes().Get(Ref("mix"))->recipe, "two");
  EXPECT_EQ(recipes().Get(Ref("mix@1"))->recipe, "one");
}

TEST_F(RecipeStoreTest, ADeletedNumberIsNeverAnotherRecipe) {
  ASSERT_THAT(recipes().Save(Spec("mix", "one")), IsOk());
  ASSERT_THAT(recipes().Save(Spec("mix", "two")), IsOk());
  ASSERT_THAT(recipes().Delete(Ref("mix@2")), IsOk());
  ASSERT_THAT(Open(), IsOk());
  EXPECT_THAT(recipes().Get(Ref("mix@2")), StatusIs(kNotFound, _));
  EXPECT_EQ(recipes().Save(Spec("mix", "three"))->version, 3);
  RecipeSpec spec = Spec("mix", "other");
  spec.version = 2;
  EXPECT_THAT(recipes().Save(spec),
              StatusIs(kAlreadyExists, HasSubstr("was deleted")));
  spec.recipe = "two";
  EXPECT_EQ(recipes().Save(spec)->version, 2);
  EXPECT_EQ(recipes().Get(Ref("mix@2"))->recipe, "two");
}

TEST_F(RecipeStoreTest, ANameWhoseVersionsAreAllGoneCountsOn) {
  ASSERT_THAT(recipes().Save(Spec("mix", "one")), IsOk());
  ASSERT_THAT(recipes().Delete(Ref("mix")), IsOk());
  EXPECT_THAT(recipes().Delete(Ref("mix")), StatusIs(kNotFound, _));
  EXPECT_EQ(recipes().Save(Spec("mix", "one"))->version, 2);
  EXPECT_EQ(recipes().Save(Spec("mi", "one"))->version, 1);
}

TEST_F(RecipeStoreTest, TheStoreKnowsHowManyThereAre) {
  for (const char* recipe : {"one", "two", "two"}) {
    ASSERT_THAT(recipes().Save(Spec("mix", recipe)), IsOk());
  }
  EXPECT_EQ(store_->Stats().num_recipes, 2u);
  ASSERT_THAT(recipes().Delete(Ref("mix@1")), IsOk());
  EXPECT_EQ(store_->Stats().num_recipes, 1u);
  ASSERT_THAT(Open(), IsOk());
  EXPECT_EQ(store_->Stats().num_recipes, 1u);
}

TEST_F(RecipeStoreTest, AnAdapterInUseKeepsItsLastName) {
  const Digest digest = Store(*store_, "sql", "one")->record.digest;
  ASSERT_THAT(Store(*store_, "copy", "one"), IsOk());
  ASSERT_THAT(recipes().Save(Spec("mix", "r", {digest})), IsOk());
  ASSERT_THAT(store_->Delete(Ref("sql")), IsOk());
  EXPECT_THAT(store_->Delete(Ref("copy")),
              StatusIs(kFailedPrecondition,
                       AllOf(HasSubstr("\"copy@1\""), HasSubstr("\"mix@1\""),
                             HasSubstr("delete the recipe first"))));
  EXPECT_THAT(ReadBlob(*store_, digest), IsOkAndHolds("one"));
  ASSERT_THAT(recipes().Delete(Ref("mix")), IsOk());
  EXPECT_THAT(store_->Delete(Ref("copy")), IsOk());
}

TEST_F(RecipeStoreTest, ARecipeOfAnAdapterThatIsNotStoredIsRefused) {
  const Digest digest = Store(*store_, "sql", "one")->record.digest;
  ASSERT_THAT(store_->Delete(Ref("sql")), IsOk());
  EXPECT_THAT(recipes().Save(Spec("mix", "r", {digest})),
              StatusIs(kNotFound, HasSubstr(digest.ToString())));
  EXPECT_THAT(ListAll({}), IsEmpty());
}

TEST_F(RecipeStoreTest, AliasesMoveAndGoWithTheirVersion) {
  ASSERT_THAT(recipes().Save(Spec("mix", "one")), IsOk());
  ASSERT_THAT(recipes().Save(Spec("mix", "two")), IsOk());
  ASSERT_THAT(recipes().SetAlias("mix", "prod", 1), IsOk());
  EXPECT_EQ(recipes().Get(Ref("mix@prod"))->version, 1);
  EXPECT_THAT(recipes().SetAlias("mix", "prod", 2)->aliases,
              ElementsAre("prod"));
  EXPECT_EQ(recipes().Get(Ref("mix@prod"))->version, 2);
  EXPECT_THAT(recipes().SetAlias("mix", "prod", 9), StatusIs(kNotFound, _));
  EXPECT_THAT(recipes().SetAlias("mix", "7", 1), StatusIs(kInvalid, _));
  ASSERT_THAT(recipes().SetAlias("mix", "old", 1), IsOk());
  ASSERT_THAT(recipes().Delete(Ref("mix@prod")), IsOk());
  EXPECT_THAT(recipes().Get(Ref("mix@prod")),
              StatusIs(kNotFound, HasSubstr("old (version 1)")));
  ASSERT_THAT(recipes().DeleteAlias("mix", "old"), IsOk());
  EXPECT_THAT(recipes().DeleteAlias("mix", "old"), StatusIs(kNotFound, _));
  // Adapters' names and aliases are not recipes'.
  EXPECT_THAT(store_->Get(Ref("mix")), StatusIs(kNotFound, _));
}

TEST_F(RecipeStoreTest, ABareNameDeletesOnlyASingleVersion) {
  ASSERT_THAT(recipes().Save(Spec("mix", "one")), IsOk());
  ASSERT_THAT(recipes().Save(Spec("mix", "two")), IsOk());
  EXPECT_THAT(recipes().Delete(Ref("mix")),
              StatusIs(kFailedPrecondition, HasSubstr("\"mix@1\"")));
  ASSERT_THAT(recipes().Delete(Ref("mix@1")), IsOk());
  EXPECT_THAT(recipes().Delete(Ref("mix")), IsOk());
}

TEST_F(RecipeStoreTest, ListingFiltersAndPages) {
  for (int i = 0; i < 5; ++i) {
    RecipeSpec spec = Spec(absl::StrCat("mix", i), "one");
    spec.labels = {{"odd", i % 2 == 1 ? "yes" : "no"}};
    ASSERT_THAT(recipes().Save(spec), IsOk());
  }
  ASSERT_THAT(recipes().Save(Spec("mix3", "two")), IsOk());
  ASSERT_THAT(recipes().Save(Spec("other", "one")), IsOk());
  for (const uint32_t page_size : {0u, 1u, 2u}) {
    RecipeListOptions options;
    options.page_size = page_size;
    options.name_prefix = "mix";
    EXPECT_THAT(ListAll(options),
                ElementsAre("mix0@1", "mix1@1", "mix2@1", "mix3@2", "mix4@1"));
    options.all_versions = true;
    options.labels = {{"odd", "yes"}};
    EXPECT_THAT(ListAll(options), ElementsAre("mix1@1", "mix3@1"));
  }
  RecipeListOptions options;
  options.page_token = "nonsense";
  EXPECT_THAT(recipes().List(options),
              StatusIs(kInvalid, HasSubstr("page_token")));
}

TEST_F(RecipeStoreTest, WhatIsOutOfBoundsIsRefusedByItsName) {
  EXPECT_THAT(recipes().Save(Spec("../x", "r")), StatusIs(kInvalid, _));
  EXPECT_THAT(recipes().Save(Spec("x", std::string(kMaxRecipeBytes + 1, 'r'))),
              StatusIs(kInvalid, HasSubstr("module_weights")));
  RecipeSpec spec = Spec("x", "r");
  spec.description = std::string(kMaxDescriptionBytes + 1, 'd');
  EXPECT_THAT(recipes().Save(spec),
              StatusIs(kInvalid, HasSubstr("description")));
  EXPECT_THAT(recipes().Get(Ref(Sha256::Of("x").ToString())),
              StatusIs(kInvalid, HasSubstr("is a digest")));
}

}  // namespace
}  // namespace stockpot::testing
