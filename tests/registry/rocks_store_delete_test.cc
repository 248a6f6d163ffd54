// Deleted adapters: they come back within their window, are purged after it,
// and their numbers stay taken.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/digest.h"
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

constexpr auto kNotFound = absl::StatusCode::kNotFound;
constexpr absl::Duration kWindow = absl::Hours(24);

class DeleteTest : public RocksStoreTest {
 protected:
  DeleteTest() { Reopen(); }

  void Reopen() {
    RocksStoreOptions options = Options();
    options.undelete_window = kWindow;
    options.clock = [this] {
      MutexLock lock(&mu_);
      return now_;
    };
    ASSERT_THAT(Open(std::move(options)), IsOk());
  }
  void Advance(absl::Duration duration) {
    MutexLock lock(&mu_);
    now_ += duration;
  }
  std::vector<std::string> Deleted() {
    ListOptions options;
    options.deleted = true;
    options.page_size = 1;
    std::vector<std::string> names;
    do {
      const absl::StatusOr<AdapterPage> page = store_->List(options);
      EXPECT_THAT(page, IsOk());
      if (!page.ok()) {
        break;
      }
      for (const AdapterRecord& record : page->records) {
        names.push_back(absl::StrCat(record.name, "@", record.version));
      }
      options.page_token = page->next_page_token;
    } while (!options.page_token.empty());
    return names;
  }

  absl::Time now_ = absl::FromUnixSeconds(1'700'000'000);
};

TEST_F(DeleteTest, WhatWasDeletedComesBackWhole) {
  const std::string bytes = RandomBytes(2 * kMiB, 1);
  UploadSpec spec = SpecFor("sql", bytes);
  spec.labels = {{"a", "b"}};
  spec.card = "card";
  const Digest digest = Store(*store_, spec, bytes)->record.digest;
  ASSERT_THAT(Store(*store_, "sql", "two"), IsOk());
  ASSERT_THAT(store_->SetAlias("sql", "prod", 1), IsOk());
  ASSERT_THAT(store_->SetAlias("sql", "moved", 1), IsOk());
  ASSERT_THAT(store_->Delete(Ref("sql@1")), IsOk());
  ASSERT_THAT(store_->SetAlias("sql", "moved", 2), IsOk());
  EXPECT_THAT(store_->Get(Ref("sql@prod")), StatusIs(kNotFound, _));
  EXPECT_THAT(store_->Resolve(Ref("sql@1")),
              StatusIs(kNotFound, AllOf(HasSubstr("deleted on 2023-11-14"),
                                        HasSubstr("undelete"))));
  EXPECT_THAT(store_->Get(Ref(digest.ToString())), StatusIs(kNotFound, _));
  store_->WaitForSweep();
  Reopen();
  EXPECT_THAT(Deleted(), ElementsAre("sql@1"));
  EXPECT_EQ(store_->Stats().num_adapters, 1u);
  EXPECT_EQ(store_->Stats().num_deleted, 1u);
  EXPECT_EQ(store_->Stats().bytes, bytes.size() + 3);
  const absl::StatusOr<AdapterRecord> record = store_->Undelete(Ref("sql@1"));
  ASSERT_THAT(record, IsOk());
  EXPECT_EQ(record->labels, spec.labels);
  EXPECT_EQ(record->card, "card");
  EXPECT_THAT(record->aliases, ElementsAre("prod"));
  EXPECT_EQ(store_->Get(Ref("sql@moved"))->version, 2);
  EXPECT_THAT(ReadBlob(*store_, digest), IsOkAndHolds(bytes));
  EXPECT_THAT(store_->Get(Ref(digest.ToString())), IsOk());
  EXPECT_THAT(store_->Undelete(Ref("sql@1")), StatusIs(kNotFound, _));
  EXPECT_EQ(store_->Stats().num_deleted, 0u);
  EXPECT_EQ(store_->Stats().num_adapters, 2u);
  EXPECT_THAT(Deleted(), IsEmpty());
}

TEST_F(DeleteTest, TheWindowEndsInAPurge) {
  ASSERT_THAT(Store(*store_, "early", RandomBytes(2 * kMiB, 1)), IsOk());
  ASSERT_THAT(Store(*store_, "late", RandomBytes(kMiB, 2)), IsOk());
  ASSERT_THAT(Store(*store_, "stays", RandomBytes(kMiB, 3)), IsOk());
  ASSERT_THAT(store_->Delete(Ref("early")), IsOk());
  Advance(absl::Hours(1));
  ASSERT_THAT(store_->Delete(Ref("late")), IsOk());
  EXPECT_EQ(store_->GetDeleted(Ref("late@1"))->purge_time, now_ + kWindow);
  EXPECT_THAT(store_->PurgeExpired(), IsOkAndHolds(0u));
  Advance(kWindow - absl::Hours(1));
  EXPECT_THAT(store_->PurgeExpired(), IsOkAndHolds(1u));
  store_->WaitForSweep();
  EXPECT_THAT(Deleted(), ElementsAre("late@1"));
  EXPECT_THAT(store_->CountChunks(), IsOkAndHolds(2u));
  EXPECT_THAT(store_->Undelete(Ref("early@1")),
              StatusIs(kNotFound, HasSubstr("purged")));
  Advance(absl::Hours(1));
  EXPECT_THAT(store_->PurgeExpired(), IsOkAndHolds(1u));
  store_->WaitForSweep();
  EXPECT_THAT(store_->CountChunks(), IsOkAndHolds(1u));
  EXPECT_EQ(store_->Stats().num_deleted, 0u);
  EXPECT_EQ(store_->Stats().bytes, kMiB);
  Reopen();
  EXPECT_THAT(store_->Get(Ref("stays")), IsOk());
  EXPECT_EQ(Errors(), "");
}

TEST_F(DeleteTest, ThePurgePassRunsByItself) {
  RocksStoreOptions options = Options();
  options.undelete_window = absl::Milliseconds(200);
  ASSERT_THAT(Open(std::move(options)), IsOk());
  ASSERT_THAT(Store(*store_, "a", RandomBytes(kMiB, 1)), IsOk());
  ASSERT_THAT(store_->Delete(Ref("a")), IsOk());
  for (int i = 0; i < 1000 && store_->Stats().bytes > 0; ++i) {
    absl::SleepFor(absl::Milliseconds(20));
  }
  EXPECT_EQ(store_->Stats().bytes, 0u);
  EXPECT_EQ(store_->Stats().num_deleted, 0u);
}

TEST_F(DeleteTest, PurgeTakesWhatIsStoredAndWhatIsDeleted) {
  ASSERT_THAT(Store(*store_, "a", RandomBytes(kMiB, 1)), IsOk());
  ASSERT_THAT(Store(*store_, "b", RandomBytes(kMiB, 2)), IsOk());
  ASSERT_THAT(store_->Delete(Ref("a")), IsOk());
  ASSERT_THAT(store_->Purge(Ref("a@1")), IsOk());
  ASSERT_THAT(store_->Purge(Ref("b@1")), IsOk());
  EXPECT_THAT(store_->Purge(Ref("b@1")), StatusIs(kNotFound, _));
  store_->WaitForSweep();
  EXPECT_THAT(store_->CountChunks(), IsOkAndHolds(0u));
  EXPECT_EQ(store_->Stats().num_adapters, 0u);
  EXPECT_EQ(store_->Stats().num_deleted, 0u);
}

TEST_F(DeleteTest, APurgedAdapterInUseStaysReadable) {
  const std::string bytes = RandomBytes(2 * kMiB, 4);
  ASSERT_THAT(Store(*store_, "a", bytes), IsOk());
  absl::StatusOr<ResolvedAdapter> call = store_->Resolve(Ref("a"));
  ASSERT_THAT(store_->Delete(Ref("a")), IsOk());
  Advance(kWindow);
  EXPECT_THAT(store_->PurgeExpired(), IsOkAndHolds(1u));
  store_->WaitForSweep();
  EXPECT_THAT(ReadBlob(*store_, call->digest), IsOkAndHolds(bytes));
  call->pin.reset();
  store_->WaitForSweep();
  EXPECT_THAT(store_->CountChunks(), IsOkAndHolds(0u));
}

TEST_F(DeleteTest, ContentThatADeletedAdapterSharesStays) {
  const std::string bytes = RandomBytes(kMiB, 5);
  const Digest digest = Store(*store_, "a", bytes)->record.digest;
  ASSERT_THAT(Store(*store_, "b", bytes), IsOk());
  ASSERT_THAT(store_->Delete(Ref("a")), IsOk());
  ASSERT_THAT(store_->Purge(Ref("b@1")), IsOk());
  store_->WaitForSweep();
  Reopen();
  ASSERT_THAT(store_->Undelete(Ref("a@1")), IsOk());
  EXPECT_THAT(ReadBlob(*store_, digest), IsOkAndHolds(bytes));
}

TEST_F(DeleteTest, ANumberIsNeverGivenToOtherContent) {
  constexpr auto kAlreadyExists = absl::StatusCode::kAlreadyExists;
  ASSERT_THAT(Store(*store_, "sql", "one"), IsOk());
  ASSERT_THAT(Store(*store_, "sql", "two"), IsOk());
  UploadSpec other = SpecFor("sql", "other");
  other.version = 2;
  UploadSpec same = SpecFor("sql", "two");
  same.version = 2;
  ASSERT_THAT(store_->Delete(Ref("sql@2")), IsOk());
  EXPECT_THAT(Store(*store_, other, "other"),
              StatusIs(kAlreadyExists, HasSubstr("was deleted")));
  // The very same content brings it back.
  ASSERT_THAT(Store(*store_, same, "two"), IsOk());
  EXPECT_THAT(Deleted(), IsEmpty());
  ASSERT_THAT(store_->Purge(Ref("sql@2")), IsOk());
  Reopen();
  EXPECT_THAT(Store(*store_, other, "other"),
              StatusIs(kAlreadyExists, HasSubstr("was deleted")));
  EXPECT_EQ(Store(*store_, "sql", "three")->record.version, 3);
  ASSERT_THAT(store_->Purge(Ref("sql@3")), IsOk());
  ASSERT_THAT(store_->Purge(Ref("sql@1")), IsOk());
  EXPECT_EQ(Store(*store_, "sql", "one")->record.version, 4);
  EXPECT_EQ(Store(*store_, same, "two")->record.version, 2);
  EXPECT_EQ(store_->Stats().num_adapters, 2u);
  EXPECT_EQ(store_->Stats().num_names, 1u);
}

TEST_F(DeleteTest, AnUploadOverADeletedOneHasItsOwnCard) {
  UploadSpec spec = SpecFor("a", "one");
  spec.version = 1;
  spec.card = "old";
  ASSERT_THAT(Store(*store_, spec, "one"), IsOk());
  ASSERT_THAT(store_->Delete(Ref("a")), IsOk());
  spec.card = "";
  ASSERT_THAT(Store(*store_, spec, "one"), IsOk());
  EXPECT_EQ(store_->Get(Ref("a@1"))->card, "");
}

TEST_F(DeleteTest, ADamagedOneComesBackByItsBytes) {
  const std::string bytes = RandomBytes(3 * kMiB, 9);
  UploadSpec spec = SpecFor("a", bytes);
  spec.version = 1;
  const Digest digest = Store(*store_, spec, bytes)->record.digest;
  ASSERT_THAT(store_->Flush(), IsOk());
  ASSERT_THAT(store_->Delete(Ref("a")), IsOk());
  store_.reset();
  for (const fs::path& file : Files(".blob")) {
    fs::remove(file);
  }
  Reopen();
  EXPECT_EQ(store_->Stats().num_damaged, 1u);
  EXPECT_THAT(store_->Undelete(Ref("a@1")),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("upload the same content again")));
  ASSERT_THAT(Store(*store_, spec, bytes), IsOk());
  EXPECT_THAT(ReadBlob(*store_, digest), IsOkAndHolds(bytes));
}

TEST_F(DeleteTest, OnlyAVersionCanBeUndeleted) {
  EXPECT_THAT(
      store_->Undelete(Ref("a")),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("name@version")));
  EXPECT_THAT(store_->Undelete(Ref("a@1")), StatusIs(kNotFound, _));
}

}  // namespace
}  // namespace stockpot::testing
