// That nothing which the seal covers can go without being noticed, and that
// seals of other builds are taken for what they are.

#include "registry/index_seal.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rocksdb/db.h"

#include "proto/stockpot/v1/storage.pb.h"

#include "base/digest.h"
#include "base/sha256.h"
#include "registry/adapter_index.h"
#include "registry/adapter_store.h"
#include "registry/key_codec.h"
#include "registry/recipe_store.h"
#include "tests/registry/rocks_store_fixture.h"
#include "tests/registry/store_fixture.h"
#include "tests/testing/status_matchers.h"

namespace stockpot::testing {
namespace {

using ::testing::_;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;

constexpr auto kDataLoss = absl::StatusCode::kDataLoss;

class IndexSealTest : public RocksStoreTest {
 protected:
  IndexSealTest() { EXPECT_THAT(OpenWithBin(), IsOk()); }

  absl::Status OpenWithBin() {
    RocksStoreOptions options = Options();
    options.undelete_window = absl::Hours(1);
    options.clock = [this] {
      MutexLock lock(&mu_);
      return now_;
    };
    return Open(std::move(options));
  }
  void Advance(absl::Duration duration) {
    MutexLock lock(&mu_);
    now_ += duration;
  }

  // At least two of each kind of key that is sealed.
  void Fill() {
    const Digest digest = Store(*store_, "kept", "bytes")->record.digest;
    for (const char* text : {"one", "two"}) {
      ASSERT_THAT(Store(*store_, "sql", text), IsOk());
    }
    for (const char* name : {"bin1", "bin2"}) {
      ASSERT_THAT(Store(*store_, name, name), IsOk());
      ASSERT_THAT(store_->Delete(Ref(name)), IsOk());
    }
    for (const char* name : {"grave1", "grave2"}) {
      ASSERT_THAT(Store(*store_, name, name), IsOk());
      ASSERT_THAT(store_->Purge(Ref(name)), IsOk());
    }
    RecipeStore& recipes = store_->recipes();
    RecipeSpec spec;
    spec.name = "mix";
    spec.adapters = {digest};
    for (const char* recipe : {"r1", "r2", "r3", "r4"}) {
      spec.recipe = recipe;
      ASSERT_THAT(recipes.Save(spec), IsOk());
    }
    ASSERT_THAT(recipes.Delete(Ref("mix@1")), IsOk());
    ASSERT_THAT(recipes.Delete(Ref("mix@2")), IsOk());
    for (const char* alias : {"prod", "canary"}) {
      ASSERT_THAT(recipes.SetAlias("mix", alias, 3), IsOk());
      ASSERT_THAT(store_->SetAlias("sql", alias, 1), IsOk());
    }
  }

  // Changes the closed store's seal as another build would have written it.
  void EditSeal(const std::function<void(storage::v1::IndexSeal&)>& edit) {
    Edit([&](rocksdb::DB& db) {
      storage::v1::IndexSeal seal = SealIn(db);
      edit(seal);
      ASSERT_TRUE(
          db.Put({}, std::string(kSealKey), seal.SerializeAsString()).ok());
    });
  }
  static storage::v1::IndexSeal SealIn(rocksdb::DB& db) {
    std::string value;
    EXPECT_TRUE(db.Get({}, std::string(kSealKey), &value).ok());
    storage::v1::IndexSeal seal;
    EXPECT_TRUE(seal.ParseFromString(value));
    return seal;
  }
  storage::v1::IndexSeal Seal() {
    storage::v1::IndexSeal seal;
    EditSeal([&](storage::v1::IndexSeal& found) { seal = found; });
    return seal;
  }

  absl::Time now_ = absl::FromUnixSeconds(1'700'000'000);
};

// The first key of `range`, and removes it.
std::string RemoveOne(rocksdb::DB& db, const KeyRange& range) {
  RangeIterator it(db, range);
  it->SeekToFirst();
  EXPECT_TRUE(it->Valid()) << range.begin;
  const std::string key(it.key());
  EXPECT_TRUE(db.Delete({}, key).ok());
  return key;
}

TEST_F(IndexSealTest, ALossOfEachKindIsNoticed) {
  Fill();
  store_.reset();
  const std::string whole = path_;
  const auto expect_noticed = [&](const KeyRange& range, const char* what) {
    path_ = dir_.path() + "/copy-" + std::string(range.begin.substr(0, 1));
    fs::copy(whole, path_);
    Edit([&](rocksdb::DB& db) { RemoveOne(db, range); });
    EXPECT_THAT(OpenWithBin(),
                StatusIs(kDataLoss, AllOf(HasSubstr(what),
                                          HasSubstr("Nothing was changed"))))
        << range.begin;
  };
  for (const KeyRange& range : kSealedNames) {
    expect_noticed(range, "names and aliases where 5 were written");
  }
  for (const KeyRange& range : kSealedRest) {
    expect_noticed(range,
                   "saved recipes, their aliases and records of "
                   "deletes where 10 were written");
  }
}

TEST_F(IndexSealTest, AChangedRecipeIsNoticedToo) {
  Fill();
  Edit([](rocksdb::DB& db) {
    ASSERT_TRUE(db.Put({}, RecipeKey({"mix", 3}), "other").ok());
  });
  EXPECT_THAT(OpenWithBin(), StatusIs(kDataLoss, HasSubstr("or others")));
}

TEST_F(IndexSealTest, AShortenedHistoryOfRecipesIsNotTakenForNone) {
  ASSERT_THAT(Store(*store_, "a", "bytes"), IsOk());
  RecipeSpec spec;
  spec.name = "mix";
  spec.recipe = "r";
  ASSERT_THAT(store_->recipes().Save(spec), IsOk());
  Edit([](rocksdb::DB& db) { RemoveOne(db, kRecipeKeys); });
  EXPECT_THAT(OpenWithBin(),
              StatusIs(kDataLoss, HasSubstr("holds 0 saved recipes")));
}

TEST_F(IndexSealTest, EveryChangeKeepsTheSealRight) {
  Fill();
  ASSERT_THAT(OpenWithBin(), IsOk());
  AdapterUpdate update;
  update.description = "new";
  ASSERT_THAT(store_->Update(Ref("sql@1"), update), IsOk());
  ASSERT_THAT(OpenWithBin(), IsOk());
  ASSERT_THAT(store_->Undelete(Ref("bin1@1")), IsOk());
  ASSERT_THAT(OpenWithBin(), IsOk());
  ASSERT_THAT(store_->DeleteAlias("sql", "prod"), IsOk());
  ASSERT_THAT(store_->recipes().DeleteAlias("mix", "prod"), IsOk());
  ASSERT_THAT(OpenWithBin(), IsOk());
  ASSERT_THAT(store_->recipes().Delete(Ref("mix@3")), IsOk());
  ASSERT_THAT(OpenWithBin(), IsOk());
  ASSERT_THAT(store_->Delete(Ref("bin1@1")), IsOk());
  // Over a tombstone, and over a grave.
  ASSERT_THAT(Store(*store_, "bin1", "bin1"), IsOk());
  ASSERT_THAT(Store(*store_, "grave1", "grave1"), IsOk());
  ASSERT_THAT(OpenWithBin(), IsOk());
  EXPECT_EQ(Errors(), "");
}

TEST_F(IndexSealTest, APurgeOfManyKeepsTheSealRight) {
  for (int i = 0; i < 150; ++i) {
    const std::string name = absl::StrCat("a", i);
    ASSERT_THAT(Store(*store_, name, name), IsOk());
    ASSERT_THAT(store_->Delete(Ref(name)), IsOk());
  }
  Advance(absl::Minutes(30));
  ASSERT_THAT(Store(*store_, "young", "young"), IsOk());
  ASSERT_THAT(store_->Delete(Ref("young")), IsOk());
  Advance(absl::Minutes(31));
  EXPECT_THAT(store_->PurgeExpired(), IsOkAndHolds(150u));
  EXPECT_THAT(store_->PurgeExpired(), IsOkAndHolds(0u));
  EXPECT_EQ(store_->Stats().num_deleted, 1u);
  ASSERT_THAT(OpenWithBin(), IsOk());
  EXPECT_EQ(store_->Stats().num_deleted, 1u);
  EXPECT_THAT(store_->Undelete(Ref("young@1")), IsOk());
}

TEST_F(IndexSealTest, AnOlderBuildsSealIsReplacedOnce) {
  Fill();
  // As a build that knows no more than names and aliases leaves it.
  uint64_t num_commits = 0;
  EditSeal([&](storage::v1::IndexSeal& seal) {
    seal.clear_more();
    num_commits = seal.num_commits();
  });
  for (int i = 0; i < 2; ++i) {
    ASSERT_THAT(OpenWithBin(), IsOk());
    const storage::v1::IndexSeal seal = Seal();
    EXPECT_EQ(seal.num_commits(), num_commits + 1);
    EXPECT_THAT(seal.more().prefixes(), Contains("r/"));
    EXPECT_EQ(seal.more().num_entries(), 10u);
  }
  Edit([](rocksdb::DB& db) { RemoveOne(db, kRecipeKeys); });
  EXPECT_THAT(OpenWithBin(), StatusIs(kDataLoss, _));
}

TEST_F(IndexSealTest, AnOlderBuildsSealIsCheckedFirst) {
  Fill();
  EditSeal([](storage::v1::IndexSeal& seal) { seal.clear_more(); });
  Edit([](rocksdb::DB& db) { RemoveOne(db, kManifestKeys); });
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(OpenWithBin(),
                StatusIs(kDataLoss, HasSubstr("holds 4 names and aliases")));
  }
}

TEST_F(IndexSealTest, ASealOfOtherKindsIsCheckedByThem) {
  Fill();
  std::string other;
  Edit([&](rocksdb::DB& db) {
    ASSERT_TRUE(db.Put({}, "z/key", "value").ok());
    storage::v1::IndexSeal seal = SealIn(db);
    Sha256 hash;
    hash.UpdateFramed("z/key");
    hash.UpdateFramed("value");
    seal.mutable_more()->clear_prefixes();
    seal.mutable_more()->add_prefixes("z/");
    seal.mutable_more()->set_num_entries(1);
    seal.mutable_more()->set_entries_xor_sha256(EncodeDigest(hash.Finish()));
    other = seal.SerializeAsString();
    ASSERT_TRUE(db.Put({}, std::string(kSealKey), other).ok());
  });
  fs::copy(path_, path_ + "-lost");
  ASSERT_THAT(OpenWithBin(), IsOk());
  EXPECT_THAT(Seal().more().prefixes(), Contains("r/"));
  path_ += "-lost";
  Edit([&](rocksdb::DB& db) { ASSERT_TRUE(db.Delete({}, "z/key").ok()); });
  EXPECT_THAT(OpenWithBin(), StatusIs(kDataLoss, _));
}

// Builds from before saved recipes were sealed check these two fields by these
// two kinds: what they find must be right, or they refuse the registry as
// damaged.
TEST_F(IndexSealTest, WhatOlderBuildsCheckIsWhatTheyWouldHaveWritten) {
  Fill();
  Edit([](rocksdb::DB& db) {
    Digest entries;
    uint64_t num_entries = 0;
    for (const KeyRange& range : {kManifestKeys, kAliasKeys}) {
      RangeIterator it(db, range);
      for (it->SeekToFirst(); it->Valid(); it->Next(), ++num_entries) {
        Sha256 hash;
        hash.UpdateFramed(it.key());
        hash.UpdateFramed(it.value());
        const Digest entry = hash.Finish();
        for (size_t i = 0; i < entry.bytes.size(); ++i) {
          entries.bytes[i] ^= entry.bytes[i];
        }
      }
    }
    const storage::v1::IndexSeal seal = SealIn(db);
    EXPECT_EQ(num_entries, 5u);
    EXPECT_EQ(seal.num_entries(), num_entries);
    EXPECT_EQ(seal.entries_xor_sha256(), EncodeDigest(entries));
  });
}

TEST_F(IndexSealTest, ADamagedSealIsDataLoss) {
  Fill();
  EditSeal([](storage::v1::IndexSeal& seal) {
    seal.mutable_more()->add_prefixes("");
  });
  EXPECT_THAT(OpenWithBin(), StatusIs(kDataLoss, HasSubstr("seal")));
  EditSeal([](storage::v1::IndexSeal& seal) {
    seal.clear_more();
    seal.mutable_more()->set_entries_xor_sha256("short");
  });
  EXPECT_THAT(OpenWithBin(), StatusIs(kDataLoss, HasSubstr("seal")));
}

}  // namespace
}  // namespace stockpot::testing
