// A RocksStore on a disk that is full, or fills up under it. Needs the right to
// mount; skipped without.

#include <sys/mount.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "registry/adapter_store.h"
#include "registry/rocks_store.h"
#include "tests/registry/rocks_store_fixture.h"
#include "tests/registry/store_fixture.h"
#include "tests/testing/status_matchers.h"

namespace stockpot::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// A file system of its own, small enough to fill.
class FullDiskTest : public RocksStoreTest {
 protected:
  void SetUp() override {
    mount_ = dir_.path() + "/disk";
    fs::create_directories(mount_);
    if (mount("none", mount_.c_str(), "tmpfs", 0, "size=160m") != 0) {
      mount_.clear();
      GTEST_SKIP() << "cannot mount a tmpfs: " << std::strerror(errno);
    }
    path_ = mount_ + "/db";
  }
  void TearDown() override {
    store_.reset();
    if (!mount_.empty()) {
      umount2(mount_.c_str(), MNT_DETACH);
    }
  }
  // Takes all free space but `left`.
  void Fill(uint64_t left) {
    std::ofstream filler(mount_ + "/filler", std::ios::app);
    const std::string block(64 << 10, 'f');
    while (fs::space(mount_).available > left + block.size() &&
           filler.write(block.data(), block.size()).flush()) {
    }
    if (left == 0) {
      while (filler.put('f').flush()) {
      }
    }
  }
  void Free() { fs::remove(mount_ + "/filler"); }

  std::string mount_;
};

TEST_F(FullDiskTest, AdmissionRefusesBeforeTheDiskIsFull) {
  ASSERT_THAT(Open(), IsOk());
  EXPECT_THAT(
      store_->BeginUpload(SpecFor("a", RandomBytes(90 * kMiB, 1))).status(),
      StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("free")));
}

TEST_F(FullDiskTest, WritesFailCleanlyAndComeBackWithSpace) {
  ASSERT_THAT(Open(), IsOk());
  const std::string bytes = RandomBytes(20 * kMiB, 2);
  ASSERT_THAT(Store(*store_, "kept", RandomBytes(10 * kMiB, 3)), IsOk());
  std::unique_ptr<Upload> upload =
      store_->BeginUpload(SpecFor("a", bytes)).value();
  Fill(0);
  const absl::Status status = upload->Append(bytes);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted,
                               Not(HasSubstr(mount_))));
  EXPECT_FALSE(store_->Stats().writable);
  EXPECT_THAT(ReadBlob(*store_, store_->Get(Ref("kept"))->digest), IsOk());
  Free();
  EXPECT_THAT(upload->Commit(SomeFacts()).status(), Not(IsOk()));
  upload.reset();
  absl::SleepFor(absl::Milliseconds(1100));
  ASSERT_THAT(Store(*store_, "a", bytes), IsOk());
  EXPECT_TRUE(store_->Stats().writable);
  EXPECT_THAT(ReadBlob(*store_, store_->Get(Ref("a"))->digest),
              IsOkAndHolds(bytes));
  EXPECT_THAT(store_->CountChunks(), IsOkAndHolds(30u));
}

TEST_F(FullDiskTest, AFullDiskOpensReadOnlyAndLaterWritable) {
  ASSERT_THAT(Open(), IsOk());
  const std::string bytes = RandomBytes(10 * kMiB, 4);
  ASSERT_THAT(Store(*store_, "kept", bytes), IsOk());
  store_.reset();
  Fill(0);
  ASSERT_THAT(Open(), IsOk());
  EXPECT_FALSE(store_->Stats().writable);
  EXPECT_THAT(ReadBlob(*store_, store_->Get(Ref("kept"))->digest),
              IsOkAndHolds(bytes));
  EXPECT_THAT(store_->Delete(Ref("kept")),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("disk is full")));
  Free();
  absl::SleepFor(absl::Milliseconds(1100));
  EXPECT_THAT(Store(*store_, "new", "x"), IsOk());
  EXPECT_TRUE(store_->Stats().writable);
}

}  // namespace
}  // namespace stockpot::testing
