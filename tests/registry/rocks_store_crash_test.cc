// Kills a process that uploads, again and again, and looks at what it had
// acknowledged.

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"

#include "registry/adapter_store.h"
#include "registry/rocks_store.h"
#include "tests/registry/store_fixture.h"
#include "tests/testing/status_matchers.h"

namespace stockpot::testing {
namespace {

constexpr char kFolderVariable[] = "STOCKPOT_CRASH_TEST_FOLDER";
constexpr char kStartVariable[] = "STOCKPOT_CRASH_TEST_START";
constexpr char kAckVariable[] = "STOCKPOT_CRASH_TEST_ACK_FD";

RocksStoreOptions OptionsFor(const std::string& path) {
  RocksStoreOptions options;
  options.path = path;
  options.reserve_bytes = 1 << 20;
  options.write_buffer_bytes = 4 << 20;  // Flushes happen in the short runs.
  return options;
}

std::string BytesOf(int64_t number) {
  std::mt19937 random(static_cast<uint32_t>(number));
  return RandomBytes(1000 + random() % 3'000'000,
                     static_cast<uint32_t>(number));
}

// Uploads adapters "a<number>" until it is killed, acknowledging each; deletes
// every third again, announced before and acknowledged after.
[[noreturn]] void UploadUntilKilled() {
  int64_t number = 0;
  int fd = -1;
  if (!absl::SimpleAtoi(std::getenv(kStartVariable), &number) ||
      !absl::SimpleAtoi(std::getenv(kAckVariable), &fd)) {
    _exit(2);
  }
  absl::StatusOr<std::unique_ptr<RocksStore>> store =
      RocksStore::Open(OptionsFor(std::getenv(kFolderVariable)));
  const auto say = [fd](const std::string& line) {
    if (write(fd, line.data(), line.size()) !=
        static_cast<ssize_t>(line.size())) {
      _exit(3);
    }
  };
  if (!store.ok()) {
    std::fprintf(stderr, "%s\n", store.status().ToString().c_str());
    _exit(4);
  }
  say("\n");
  for (;; ++number) {
    const std::string name = absl::StrCat("a", number);
    if (!Store(**store, name, BytesOf(number)).ok()) {
      _exit(5);
    }
    say(absl::StrCat("+", number, "\n"));
    if (number % 3 == 0) {
      say(absl::StrCat("?", number, "\n"));
      if (!(*store)->Delete(Ref(name)).ok()) {
        _exit(6);
      }
      say(absl::StrCat("-", number, "\n"));
    }
  }
}

// Runs the child until `milliseconds` after it opened the store, kills it and
// returns what it said.
std::string RunAndKill(const std::string& folder, int64_t start,
                       int milliseconds) {
  int fds[2];
  if (pipe(fds) != 0) {
    return "";
  }
  setenv(kFolderVariable, folder.c_str(), 1);
  setenv(kStartVariable, absl::StrCat(start).c_str(), 1);
  setenv(kAckVariable, absl::StrCat(fds[1]).c_str(), 1);
  const pid_t pid = fork();
  if (pid == 0) {
    // A fresh process image: RocksDB's threads do not survive a fork.
    close(fds[0]);
    execl("/proc/self/exe", "child", "--gtest_brief=1",
          "--gtest_filter=RocksStoreCrashTest.WhatWasAcknowledgedSurvivesAKill",
          static_cast<char*>(nullptr));
    _exit(7);
  }
  close(fds[1]);
  char opened = 0;
  EXPECT_EQ(read(fds[0], &opened, 1), 1);
  absl::SleepFor(absl::Milliseconds(milliseconds));
  kill(pid, SIGKILL);
  std::string said;
  char buffer[4096];
  for (ssize_t n; (n = read(fds[0], buffer, sizeof(buffer))) > 0;) {
    said.append(buffer, static_cast<size_t>(n));
  }
  close(fds[0]);
  int status = 0;
  waitpid(pid, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status)) << "exit status " << WEXITSTATUS(status);
  return said;
}

// What must be there: stored, gone, or (announced, not acknowledged) either.
enum class Expected { kStored, kGone, kEither };

TEST(RocksStoreCrashTest, WhatWasAcknowledgedSurvivesAKill) {
  if (std::getenv(kFolderVariable) != nullptr) {
    UploadUntilKilled();
  }
  constexpr int kCycles = 20;
  TempDir dir;
  const std::string path = dir.path() + "/db";
  std::map<int64_t, Expected> expected;
  std::mt19937 random(1);
  int64_t next = 1;
  for (int cycle = 0; cycle < kCycles; ++cycle) {
    const std::string said =
        RunAndKill(path, next, 50 + static_cast<int>(random() % 400));
    int64_t last = next - 1;
    for (const std::string& line :
         std::vector<std::string>(absl::StrSplit(said, '\n'))) {
      int64_t number = 0;
      if (line.empty() || !absl::SimpleAtoi(line.substr(1), &number)) {
        continue;
      }
      last = number;
      expected[number] = line[0] == '+'   ? Expected::kStored
                         : line[0] == '-' ? Expected::kGone
                                          : Expected::kEither;
    }
    // The one under way may or may not be there, but never in part.
    expected.try_emplace(last + 1, Expected::kEither);
    next = last + 2;

    const absl::StatusOr<std::unique_ptr<RocksStore>> store =
        RocksStore::Open(OptionsFor(path));
    ASSERT_THAT(store, IsOk());
    EXPECT_EQ((*store)->Stats().num_damaged, 0u);
    uint64_t num_chunks = 0;
    for (const auto& [number, state] : expected) {
      const absl::StatusOr<AdapterRecord> record =
          (*store)->Get(Ref(absl::StrCat("a", number)));
      if (record.ok()) {
        EXPECT_NE(state, Expected::kGone) << number;
        num_chunks +=
            (record->size_bytes + kBlobChunkBytes - 1) / kBlobChunkBytes;
        // Old ones every few cycles only: reading is the slow part.
        if (number > next - 40 || cycle == kCycles - 1) {
          EXPECT_THAT(ReadBlob(**store, record->digest),
                      IsOkAndHolds(BytesOf(number)));
        }
      } else {
        EXPECT_TRUE(absl::IsNotFound(record.status())) << record.status();
        EXPECT_NE(state, Expected::kStored) << number;
      }
    }
    // Unfinished uploads leave nothing behind.
    EXPECT_THAT((*store)->CountChunks(), IsOkAndHolds(num_chunks));
  }
  // The kills must have hit a store at work: `next` grows by 1 without it.
  EXPECT_GE(next, 3 * kCycles);
  std::printf("%lld adapters in %d cycles\n", static_cast<long long>(next),
              kCycles);
}

}  // namespace
}  // namespace stockpot::testing
