// That damage which was found stays known over a restart, and no longer than
// the bytes that it was found in.

#include "registry/quarantine.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rocksdb/db.h"

#include "base/digest.h"
#include "base/sha256.h"
#include "registry/adapter_index.h"
#include "registry/adapter_store.h"
#include "registry/key_codec.h"
#include "registry/scrubber.h"
#include "tests/registry/rocks_store_fixture.h"
#include "tests/registry/scrub_listener.h"
#include "tests/registry/store_fixture.h"
#include "tests/testing/status_matchers.h"

namespace stockpot::testing {
namespace {

using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr auto kDataLoss = absl::StatusCode::kDataLoss;

class QuarantineTest : public RocksStoreTest {
 protected:
  QuarantineTest() { EXPECT_THAT(Open(), IsOk()); }

  // "sound", and "bad", whose blob file has a wrong bit that nobody met yet.
  void StoreDamaged() {
    ASSERT_THAT(Store(*store_, "sound", "sound bytes"), IsOk());
    digest_ = Store(*store_, "bad", bytes_)->record.digest;
    ASSERT_THAT(store_->Flush(), IsOk());
    ASSERT_EQ(Files(".blob").size(), 1u);
    FlipTheBit();
  }
  void FlipTheBit() {
    store_.reset();
    const fs::path file = Files(".blob")[0];
    FlipBit(file, fs::file_size(file) / 2);
    ASSERT_THAT(Open(), IsOk());
  }
  void MeetTheDamage() {
    ASSERT_EQ(store_->Stats().num_damaged, 0u);
    ASSERT_THAT(ReadBlob(*store_, digest_), StatusIs(kDataLoss, _));
    ASSERT_EQ(store_->Stats().num_damaged, 1u);
  }
  std::vector<std::string> Verify() {
    ScrubListener listener;
    EXPECT_THAT(store_->scrubber().Verify(0, &listener), IsOk());
    const absl::StatusOr<ScrubProgress> end = listener.WaitForEnd();
    EXPECT_THAT(end, IsOk());
    return end.ok() ? end->damaged : std::vector<std::string>();
  }
  void ExpectQuarantined() {
    EXPECT_EQ(store_->Stats().num_damaged, 1u);
    EXPECT_THAT(store_->Get(Ref("bad")),
                StatusIs(kDataLoss, HasSubstr("upload the same content")));
    EXPECT_THAT(store_->Resolve(Ref("bad")), StatusIs(kDataLoss, _));
    EXPECT_THAT(store_->OpenBlob(digest_).status(), StatusIs(kDataLoss, _));
    EXPECT_THAT(store_->Get(Ref("sound")), IsOk());
  }
  void ExpectSound() {
    EXPECT_EQ(store_->Stats().num_damaged, 0u);
    EXPECT_THAT(ReadBlob(*store_, digest_), IsOkAndHolds(bytes_));
  }
  // Closes the store.
  uint64_t NumMarks() {
    uint64_t num_marks = 0;
    Edit([&](rocksdb::DB& db) {
      RangeIterator it(db, kDamageMarkKeys);
      for (it->SeekToFirst(); it->Valid(); it->Next()) {
        ++num_marks;
      }
    });
    return num_marks;
  }

  const std::string bytes_ = RandomBytes(3 * kMiB, 1);
  Digest digest_;
};

TEST_F(QuarantineTest, WhatAReaderFoundIsKnownAfterARestart) {
  StoreDamaged();
  MeetTheDamage();
  for (int i = 0; i < 2; ++i) {
    ASSERT_THAT(Open(), IsOk());
    ExpectQuarantined();
    EXPECT_THAT(Errors(), HasSubstr("were found damaged before"));
  }
  EXPECT_THAT(Verify(), ElementsAre("bad@1"));
}

TEST_F(QuarantineTest, WhatTheScrubberFoundIsKnownAfterARestart) {
  StoreDamaged();
  EXPECT_THAT(Verify(), ElementsAre("bad@1"));
  ASSERT_THAT(Open(), IsOk());
  ExpectQuarantined();
  EXPECT_THAT(Verify(), ElementsAre("bad@1"));
  EXPECT_EQ(NumMarks(), 1u);
}

TEST_F(QuarantineTest, EndsWhenTheContentIsUploadedAgain) {
  StoreDamaged();
  MeetTheDamage();
  ASSERT_THAT(Open(), IsOk());
  ASSERT_THAT(Store(*store_, "bad", bytes_), IsOk());
  ExpectSound();
  ASSERT_THAT(Open(), IsOk());
  ExpectSound();
  EXPECT_EQ(NumMarks(), 0u);
}

TEST_F(QuarantineTest, EndsWithTheBlob) {
  StoreDamaged();
  MeetTheDamage();
  ASSERT_THAT(store_->Purge(Ref("bad")), IsOk());
  store_->WaitForSweep();
  EXPECT_EQ(store_->Stats().num_damaged, 0u);
  EXPECT_EQ(NumMarks(), 0u);
}

TEST_F(QuarantineTest, EndsWhenThePassReadsTheBytesWell) {
  StoreDamaged();
  MeetTheDamage();
  FlipTheBit();
  ExpectQuarantined();
  EXPECT_THAT(Verify(), IsEmpty());
  ExpectSound();
  ASSERT_THAT(Open(), IsOk());
  ExpectSound();
  EXPECT_EQ(NumMarks(), 0u);
}

TEST_F(QuarantineTest, AMarkOfBytesThatAreGoneSaysNothing) {
  digest_ = Store(*store_, "bad", bytes_)->record.digest;
  Edit([&](rocksdb::DB& db) {
    // As it stays when an older build heals the blob, or removes it.
    db.Put({}, DamageMarkKey(digest_), EncodeDamageMark(999));
    db.Put({}, DamageMarkKey(Sha256::Of("gone")), EncodeDamageMark(1));
    db.Put({}, std::string(kDamageMarkKeys.begin) + "short", "\xff");
  });
  ASSERT_THAT(Open(), IsOk());
  ExpectSound();
  EXPECT_EQ(NumMarks(), 0u);
}

TEST_F(QuarantineTest, AMarkThatIsLostIsMadeAgain) {
  StoreDamaged();
  MeetTheDamage();
  Edit([&](rocksdb::DB& db) { db.Delete({}, DamageMarkKey(digest_)); });
  ASSERT_THAT(Open(), IsOk());
  MeetTheDamage();
  EXPECT_EQ(NumMarks(), 1u);
}

// A reader may still hold the bytes that were replaced.
TEST_F(QuarantineTest, AReaderOfReplacedBytesMarksNothing) {
  StoreDamaged();
  const std::unique_ptr<BlobReader> reader = store_->OpenBlob(digest_).value();
  MeetTheDamage();
  ASSERT_THAT(Store(*store_, "bad", bytes_), IsOk());
  EXPECT_THAT(ReadAll(*reader), StatusIs(kDataLoss, _));
  ExpectSound();
}

TEST_F(QuarantineTest, ADeletedAdapterStaysInIt) {
  RocksStoreOptions options = Options();
  options.undelete_window = absl::Hours(1);
  StoreDamaged();
  ASSERT_THAT(Open(options), IsOk());
  MeetTheDamage();
  ASSERT_THAT(store_->Delete(Ref("bad")), IsOk());
  ASSERT_THAT(Open(options), IsOk());
  EXPECT_THAT(store_->Undelete(Ref("bad@1")),
              StatusIs(kDataLoss, HasSubstr("quarantined")));
  EXPECT_EQ(NumMarks(), 1u);
}

}  // namespace
}  // namespace stockpot::testing
