// What is kept of a blob's inspection: it lives as long as its blob, and what
// is damaged counts as absent.

#include "registry/inspection_store.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rocksdb/db.h"
#include "rocksdb/options.h"

#include "base/digest.h"
#include "base/sha256.h"
#include "registry/key_codec.h"
#include "tests/registry/rocks_store_fixture.h"
#include "tests/registry/store_fixture.h"
#include "tests/testing/status_matchers.h"

namespace stockpot::testing {
namespace {

using ::testing::_;
using ::testing::HasSubstr;

class InspectionStoreTest : public RocksStoreTest {
 protected:
  InspectionStoreTest() { OpenAgain(); }

  void OpenAgain() {
    RocksStoreOptions options = Options();
    options.undelete_window = absl::Hours(1);
    ASSERT_THAT(Open(std::move(options)), IsOk());
  }

  // Stores an adapter with an inspection.
  Digest Stored(const std::string& name, const std::string& bytes) {
    const Digest digest = Store(*store_, name, bytes)->record.digest;
    EXPECT_THAT(store_->inspections().Put(digest, "about " + bytes), IsOk());
    return digest;
  }

  std::optional<std::string> Find(const Digest& digest) {
    const absl::StatusOr<std::optional<std::string>> found =
        store_->inspections().Find(digest);
    EXPECT_THAT(found, IsOk());
    return found.value_or(std::nullopt);
  }

  // Keys of the closed store that begin so; leaves it closed.
  int CountKeys(const std::string& prefix) {
    int count = 0;
    Edit([&](rocksdb::DB& db) {
      std::unique_ptr<rocksdb::Iterator> it(
          db.NewIterator(rocksdb::ReadOptions()));
      for (it->Seek(prefix); it->Valid() && it->key().starts_with(prefix);
           it->Next()) {
        ++count;
      }
    });
    return count;
  }
};

TEST_F(InspectionStoreTest, WhatWasPutIsFoundAlsoAfterAReopen) {
  const Digest digest = Stored("a", "one");
  EXPECT_EQ(Find(digest), "about one");
  ASSERT_THAT(store_->inspections().Put(digest, "newer"), IsOk());
  OpenAgain();
  EXPECT_EQ(Find(digest), "newer");
  ASSERT_THAT(store_->Flush(), IsOk());
  OpenAgain();
  EXPECT_EQ(Find(digest), "newer");
  EXPECT_EQ(Find(Sha256::Of("nothing")), std::nullopt);
}

TEST_F(InspectionStoreTest, OnlyOfBlobsThatAreStored) {
  EXPECT_THAT(store_->inspections().Put(Sha256::Of("nothing"), "x"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("is stored")));
  const Digest digest = Stored("a", "one");
  EXPECT_THAT(
      store_->inspections().Put(digest,
                                std::string(kMaxInspectionBytes + 1, 'x')),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("2097153")));
  EXPECT_EQ(Find(digest), "about one");
}

TEST_F(InspectionStoreTest, ItGoesWithItsBlobAndNotBefore) {
  const Digest digest = Stored("a", "one");
  ASSERT_THAT(Store(*store_, "b", "one"), IsOk());
  ASSERT_THAT(store_->Delete(Ref("a")), IsOk());
  ASSERT_THAT(store_->Purge(Ref("a@1")), IsOk());
  store_->WaitForSweep();
  EXPECT_EQ(Find(digest), "about one");
  ASSERT_THAT(store_->Delete(Ref("b")), IsOk());
  store_->WaitForSweep();
  EXPECT_EQ(Find(digest), "about one");
  ASSERT_THAT(store_->Purge(Ref("b@1")), IsOk());
  store_->WaitForSweep();
  EXPECT_EQ(Find(digest), std::nullopt);
  EXPECT_THAT(store_->inspections().Put(digest, "late"),
              StatusIs(absl::StatusCode::kNotFound, _));
  EXPECT_EQ(CountKeys("i/"), 0);
}

TEST_F(InspectionStoreTest, TheAuditRemovesItWithABlobThatNothingNames) {
  const Digest digest = Stored("a", "one");
  Stored("b", "two");
  // The sweeper waits for the pin, and the store closes before it comes.
  absl::StatusOr<ResolvedAdapter> pinned = store_->Resolve(Ref("a"));
  ASSERT_THAT(store_->Purge(Ref("a@1")), IsOk());
  EXPECT_EQ(CountKeys("i/"), 2);
  pinned->pin.reset();
  OpenAgain();
  EXPECT_EQ(Find(digest), std::nullopt);
  EXPECT_EQ(CountKeys("i/"), 1);
}

TEST_F(InspectionStoreTest, DamageCountsAsAbsent) {
  const Digest digest = Stored("a", "one");
  Edit([&](rocksdb::DB& db) {
    ASSERT_TRUE(db.Put(rocksdb::WriteOptions(), InspectionKey(digest),
                       "\x0a\xff not a message")
                    .ok());
  });
  OpenAgain();
  EXPECT_EQ(Find(digest), std::nullopt);
  EXPECT_THAT(store_->Get(Ref("a")), IsOk());
  ASSERT_THAT(store_->inspections().Put(digest, "again"), IsOk());
  EXPECT_EQ(Find(digest), "again");
}

}  // namespace
}  // namespace stockpot::testing
