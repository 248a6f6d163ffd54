// Databases that earlier builds wrote, opened by this one. The files lie in
// tests/golden/registry; make_golden_store.cc says what is in them.

#include <filesystem>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rocksdb/db.h"

#include "proto/stockpot/v1/storage.pb.h"

#include "base/digest.h"
#include "registry/adapter_store.h"
#include "registry/index_seal.h"
#include "registry/key_codec.h"
#include "registry/recipe_store.h"
#include "registry/store_audit.h"
#include "tests/registry/rocks_store_fixture.h"
#include "tests/registry/store_fixture.h"
#include "tests/testing/status_matchers.h"

namespace stockpot::testing {
namespace {

using ::testing::_;
using ::testing::ElementsAre;

class UpgradeTest : public RocksStoreTest,
                    public ::testing::WithParamInterface<const char*> {
 protected:
  UpgradeTest() {
    fs::copy(
        std::string(STOCKPOT_SOURCE_DIR "/tests/golden/registry/") + GetParam(),
        path_, fs::copy_options::recursive);
  }
};

TEST_P(UpgradeTest, EverythingIsThereAndCanBeChanged) {
  for (int i = 0; i < 2; ++i) {
    ASSERT_THAT(Open(), IsOk());
    const absl::StatusOr<AdapterRecord> sql = store_->Get(Ref("sql@prod"));
    ASSERT_THAT(sql, IsOk());
    EXPECT_EQ(sql->version, 1);
    EXPECT_EQ(sql->labels, (Labels{{"team", "demo"}}));
    EXPECT_EQ(sql->description, "answers in SQL");
    EXPECT_EQ(sql->card, "# SQL");
    EXPECT_EQ(sql->facts.max_rank, 8u);
    EXPECT_EQ(sql->create_time, absl::FromUnixSeconds(1'700'000'000));
    EXPECT_THAT(ReadBlob(*store_, sql->digest),
                IsOkAndHolds(RandomBytes(66'000, 1)));
    EXPECT_THAT(store_->Get(Ref("sql"))->aliases, ElementsAre("canary"));
    EXPECT_THAT(ReadBlob(*store_, store_->Get(Ref("tail"))->digest),
                IsOkAndHolds("in the log"));
    EXPECT_THAT(store_->Get(Ref("sql@3")),
                StatusIs(absl::StatusCode::kNotFound, _));
    EXPECT_EQ(store_->Stats().num_damaged, 0u);
  }
  EXPECT_EQ(store_->Stats().num_adapters, 4u);
  const Digest digest = store_->Get(Ref("copy"))->digest;
  RecipeSpec spec;
  spec.name = "mix";
  spec.recipe = "r";
  spec.adapters = {digest};
  ASSERT_THAT(store_->recipes().Save(spec), IsOk());
  ASSERT_THAT(Store(*store_, "new", "bytes"), IsOk());
  ASSERT_THAT(store_->Delete(Ref("sql@1")), IsOk());
  ASSERT_THAT(Open(), IsOk());
  EXPECT_THAT(store_->recipes().Get(Ref("mix")), IsOk());
  EXPECT_EQ(Errors(), "");
}

TEST_P(UpgradeTest, TheSealCoversWhatThisBuildSeals) {
  ASSERT_THAT(Open(), IsOk());
  Edit([&](rocksdb::DB& db) {
    const absl::StatusOr<std::optional<IndexSeal>> seal = ReadSeal(db);
    ASSERT_THAT(seal, IsOk());
    ASSERT_TRUE(seal->has_value());
    EXPECT_TRUE((*seal)->IsCurrent());
    absl::StatusOr<IndexSeal> held = ComputeSeal(db);
    ASSERT_THAT(held, IsOk());
    held->num_commits = (*seal)->num_commits;
    EXPECT_EQ(*held, **seal);
  });
}

TEST_P(UpgradeTest, TheFormatIsRaisedSoThatOlderBuildsRefuseIt) {
  ASSERT_THAT(Open(), IsOk());
  storage::v1::StoreFormat format;
  Edit([&](rocksdb::DB& db) {
    std::string value;
    ASSERT_TRUE(db.Get({}, std::string(kFormatKey), &value).ok());
    ASSERT_TRUE(format.ParseFromString(value));
  });
  EXPECT_EQ(format.version(), kStoreFormat);
}

// Its seal covers manifests and aliases alone.
class UpgradeFormat2Test : public UpgradeTest {};

TEST_P(UpgradeFormat2Test, RecipesAndWhatWasDeletedAreThereAndSealed) {
  RocksStoreOptions options = Options();
  options.undelete_window = absl::Hours(1);
  options.clock = [] { return absl::FromUnixSeconds(1'700'000'001); };
  ASSERT_THAT(Open(options), IsOk());
  const absl::StatusOr<RecipeRecord> blend =
      store_->recipes().Get(Ref("blend@prod"));
  ASSERT_THAT(blend, IsOk());
  EXPECT_EQ(blend->version, 1);
  EXPECT_EQ(blend->recipe, "first");
  EXPECT_EQ(blend->description, "answers in two voices");
  EXPECT_EQ(store_->Stats().num_recipes, 1u);
  // The numbers of what is gone stay taken.
  RecipeSpec spec;
  spec.name = "blend";
  spec.recipe = "third";
  EXPECT_EQ(store_->recipes().Save(spec)->version, 3);
  EXPECT_EQ(Store(*store_, "gone", "other bytes")->record.version, 2);
  ASSERT_THAT(store_->Undelete(Ref("sql@3")), IsOk());
  ASSERT_THAT(Open(options), IsOk());
  Edit([](rocksdb::DB& db) {
    ASSERT_TRUE(db.Delete({}, RecipeKey({"blend", 1})).ok());
  });
  EXPECT_THAT(Open(options), StatusIs(absl::StatusCode::kDataLoss, _));
}

INSTANTIATE_TEST_SUITE_P(Golden, UpgradeFormat2Test,
                         ::testing::Values("format2"), [](const auto& info) {
                           return std::string(info.param);
                         });

INSTANTIATE_TEST_SUITE_P(Golden, UpgradeTest,
                         ::testing::Values("format1", "format2"),
                         [](const auto& info) {
                           return std::string(info.param);
                         });

}  // namespace
}  // namespace stockpot::testing
