// What the scrubber finds, and what it leaves alone.

#include "registry/scrubber.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

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

class ScrubberTest : public RocksStoreTest {
 protected:
  absl::StatusOr<ScrubProgress> Verify(uint64_t bytes_per_second = 0) {
    ScrubListener listener;
    const absl::StatusOr<uint64_t> id =
        store_->scrubber().Verify(bytes_per_second, &listener);
    return id.ok() ? listener.WaitForEnd() : id.status();
  }

  // Three adapters in one blob file.
  void StoreThree() {
    for (const char* name : {"a", "b", "c"}) {
      ASSERT_THAT(Store(*store_, name, RandomBytes(2 * kMiB, name[0])), IsOk());
    }
    ASSERT_THAT(store_->Flush(), IsOk());
    ASSERT_EQ(Files(".blob").size(), 1u);
  }
  // In the second of the three.
  void FlipABitOfOne() {
    const fs::path file = Files(".blob")[0];
    FlipBit(file, fs::file_size(file) / 2);
  }
  void ExpectOnlyBIsDamaged() {
    EXPECT_EQ(store_->Stats().num_damaged, 1u);
    EXPECT_THAT(store_->Get(Ref("b")),
                StatusIs(kDataLoss, HasSubstr("quarantined")));
    for (const char* name : {"a", "c"}) {
      EXPECT_THAT(ReadBlob(*store_, store_->Get(Ref(name))->digest),
                  IsOkAndHolds(RandomBytes(2 * kMiB, name[0])));
    }
  }
};

TEST_F(ScrubberTest, FindsNothingInASoundRegistry) {
  ASSERT_THAT(Open(), IsOk());
  EXPECT_EQ(store_->scrubber().stats().last_end, std::nullopt);
  StoreThree();
  ASSERT_THAT(Store(*store_, "again", RandomBytes(2 * kMiB, 'a')), IsOk());
  const absl::StatusOr<ScrubProgress> found = Verify();
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(found->num_checked, 3u);
  EXPECT_EQ(found->num_blobs, 3u);
  EXPECT_EQ(found->bytes_checked, 6 * kMiB);
  EXPECT_THAT(found->damaged, IsEmpty());
  EXPECT_NE(store_->scrubber().stats().last_end, std::nullopt);
  EXPECT_EQ(store_->scrubber().stats().bytes_checked, 6 * kMiB);
  EXPECT_EQ(Errors(), "");
}

TEST_F(ScrubberTest, AFlippedBitQuarantinesOnlyItsAdapter) {
  ASSERT_THAT(Open(), IsOk());
  StoreThree();
  ASSERT_THAT(Store(*store_, "also-b", RandomBytes(2 * kMiB, 'b')), IsOk());
  FlipABitOfOne();
  const absl::StatusOr<ScrubProgress> found = Verify();
  ASSERT_THAT(found, IsOk());
  EXPECT_THAT(found->damaged, ElementsAre("also-b@1", "b@1"));
  EXPECT_EQ(found->num_checked, 3u);
  ExpectOnlyBIsDamaged();
  // It is told again, until it is healed.
  EXPECT_THAT(Verify()->damaged, ElementsAre("also-b@1", "b@1"));
  ASSERT_THAT(Store(*store_, "b", RandomBytes(2 * kMiB, 'b')), IsOk());
  EXPECT_THAT(Verify()->damaged, IsEmpty());
  EXPECT_EQ(store_->Stats().num_damaged, 0u);
}

TEST_F(ScrubberTest, ThePassInTheBackgroundFindsItToo) {
  RocksStoreOptions options = Options();
  options.scrub_period = absl::Milliseconds(20);
  ASSERT_THAT(Open(options), IsOk());
  StoreThree();
  FlipABitOfOne();
  while (store_->Stats().num_damaged == 0) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  ExpectOnlyBIsDamaged();
  EXPECT_THAT(Errors(), HasSubstr("is quarantined"));
}

TEST_F(ScrubberTest, WhatOnlyADeletedAdapterHoldsIsCheckedToo) {
  RocksStoreOptions options = Options();
  options.undelete_window = absl::Hours(1);
  ASSERT_THAT(Open(options), IsOk());
  StoreThree();
  const std::string digest = store_->Get(Ref("b"))->digest.ToString();
  ASSERT_THAT(store_->Delete(Ref("b")), IsOk());
  FlipABitOfOne();
  EXPECT_THAT(Verify()->damaged, ElementsAre(digest));
}

TEST_F(ScrubberTest, ADamagedTableIsDataLoss) {
  ASSERT_THAT(Open(), IsOk());
  StoreThree();
  ASSERT_FALSE(Files(".sst").empty());
  for (const fs::path& file : Files(".sst")) {
    FlipBit(file, 100);
  }
  EXPECT_THAT(Verify(), StatusIs(kDataLoss, _));
  EXPECT_EQ(store_->scrubber().stats().last_end, std::nullopt);
}

TEST_F(ScrubberTest, OnePassAtATimeAndItCanBeEnded) {
  ASSERT_THAT(Open(), IsOk());
  StoreThree();
  ScrubListener slow;
  // Days for each chunk.
  const absl::StatusOr<uint64_t> id = store_->scrubber().Verify(1, &slow);
  ASSERT_THAT(id, IsOk());
  slow.WaitForFirstChunk();
  EXPECT_THAT(Verify(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                 HasSubstr("being checked already")));
  // Nobody waits for it.
  ASSERT_THAT(Store(*store_, "d", "new"), IsOk());
  ASSERT_THAT(store_->Delete(Ref("c")), IsOk());
  store_->scrubber().Cancel(*id + 1);
  store_->scrubber().Cancel(*id);
  EXPECT_THAT(slow.WaitForEnd(), StatusIs(absl::StatusCode::kCancelled, _));
  store_->WaitForSweep();
  EXPECT_EQ(Verify()->num_blobs, 3u);
}

TEST_F(ScrubberTest, AskedForItOvertakesTheBackground) {
  ASSERT_THAT(Open(), IsOk());
  StoreThree();
  RocksStoreOptions options = Options();
  options.scrub_period = absl::Hours(1000);  // 1 MiB/s: six seconds.
  ASSERT_THAT(Open(options), IsOk());
  while (store_->scrubber().stats().bytes_checked == 0) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_EQ(Verify()->bytes_checked, 6 * kMiB);
}

TEST_F(ScrubberTest, ClosingTheStoreEndsIt) {
  ASSERT_THAT(Open(), IsOk());
  StoreThree();
  ScrubListener slow;
  ASSERT_THAT(store_->scrubber().Verify(1, &slow), IsOk());
  slow.WaitForFirstChunk();
  store_.reset();
  EXPECT_THAT(slow.WaitForEnd(), StatusIs(absl::StatusCode::kCancelled, _));
}

TEST_F(ScrubberTest, FindsNothingWrongWithWhatComesAndGoes) {
  ASSERT_THAT(Open(), IsOk());
  std::atomic<bool> stop = false;
  std::atomic<int> num_stored = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 3; ++thread) {
    threads.emplace_back([&, thread] {
      for (uint32_t i = 0; !stop; ++i) {
        const std::string name = absl::StrCat("u", thread);
        EXPECT_THAT(Store(*store_, name, RandomBytes(300'000, i % 7)), IsOk());
        ++num_stored;
        EXPECT_THAT(store_->Purge(Ref(name)), IsOk());
      }
    });
  }
  for (int round = 0; round < 60 || num_stored < 200; ++round) {
    const absl::StatusOr<ScrubProgress> found = Verify();
    EXPECT_THAT(found, IsOk());
    EXPECT_THAT(found->damaged, IsEmpty());
  }
  stop = true;
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(store_->Stats().num_damaged, 0u);
  EXPECT_EQ(Errors(), "");
}

TEST(ScrubRateTest, ReadsAllWithinThePeriodButNeverCrawls) {
  constexpr uint64_t kTiB = uint64_t{1} << 40;
  EXPECT_EQ(ScrubRate(0, absl::Hours(24)), kLeastScrubRate);
  EXPECT_EQ(ScrubRate(kLeastScrubRate * 3600, absl::Hours(24)),
            kLeastScrubRate);
  const uint64_t rate = ScrubRate(kTiB, absl::Hours(24));
  EXPECT_LT(kTiB / rate, 23u * 3600);
  EXPECT_GT(kTiB / rate, 20u * 3600);
}

}  // namespace
}  // namespace stockpot::testing
