// Fails the N-th sync or write of a fixed piece of work, for N = 1, 2, 3 and on
// until the work ends before it, then takes the power away: nothing that was
// acknowledged may be missing, and the registry must take writes again by
// itself.

#include <errno.h>
#include <signal.h>

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "registry/adapter_store.h"
#include "registry/rocks_store.h"
#include "tests/faults/child_process.h"
#include "tests/faults/fault_form.h"
#include "tests/faults/history.h"
#include "tests/faults/simulated_disk.h"
#include "tests/registry/store_fixture.h"

namespace stockpot::testing {
namespace {

using ::testing::IsEmpty;

namespace fs = std::filesystem;

absl::StatusOr<std::unique_ptr<RocksStore>> OpenAt(const std::string& path) {
  RocksStoreOptions options;
  options.path = path;
  options.reserve_bytes = 1 << 20;
  options.write_buffer_bytes = 256 << 10;
  options.log = [](Severity, absl::string_view) {};
  return RocksStore::Open(std::move(options));
}

// A failed call may be any of the ordinary refusals; never a broken invariant,
// and never the loss of something that is there.
void SayRefusal(const absl::Status& status, const LineWriter& out) {
  if (!absl::IsUnavailable(status) && !absl::IsResourceExhausted(status)) {
    out.Say(absl::StrCat("Fodd refusal: ", status.ToString()));
  }
  out.Say("X");
}

// Says what it did, and "X" for every call that was refused.
void Work(RocksStore& store, const LineWriter& out) {
  for (int i = 0; i < 12; ++i) {
    const std::string name = absl::StrCat("w", i);
    out.Say("?" + name);
    const absl::Status stored = Store(store, name, BytesOf(name)).status();
    if (!stored.ok()) {
      SayRefusal(stored, out);
      continue;
    }
    out.Say("+" + name);
    if (i % 4 == 3) {
      out.Say("?" + name);
      const absl::Status deleted = store.Delete(Ref(name));
      if (deleted.ok()) {
        out.Say("-" + name);
      } else {
        SayRefusal(deleted, out);
      }
    }
  }
}

struct SweepResult {
  int num_failures = 0;   // Of calls, injected.
  int num_refused = 0;    // Of the store's answers.
  int num_recovered = 0;  // Runs that stored something after a refusal.
};

class FailedCallTest : public ::testing::Test {
 protected:
  // One run; false once the work ends before the fault.
  bool Run(DiskFaults faults, SweepResult* result) {
    TempDir dir;
    const std::string path = dir.path() + "/db";
    fs::create_directory(path);
    faults.folder = path;
    faults.image = dir.path() + "/image";
    History history;
    ChildProcess child([&](const LineWriter& out) -> int {
      ArmDisk(faults);
      const absl::StatusOr<std::unique_ptr<RocksStore>> store = OpenAt(path);
      if (store.ok()) {
        Work(**store, out);
      } else {
        SayRefusal(store.status(), out);
      }
      out.Say(absl::StrCat("N", CountDiskCalls().failed));
      PowerOff();
    });
    std::string line;
    bool failed = false;
    bool refused = false;
    bool recovered = false;
    while (child.ReadLine(&line)) {
      failed = failed || (line[0] == 'N' && line != "N0");
      result->num_refused += line == "X" ? 1 : 0;
      refused = refused || line == "X";
      recovered = recovered || (refused && line[0] == '+');
      history.Take(line);
    }
    EXPECT_EQ(child.Wait(), -SIGKILL);
    result->num_failures += failed ? 1 : 0;
    result->num_recovered += recovered ? 1 : 0;
    // The next start, on a disk that works.
    ChildProcess after([&](const LineWriter& out) {
      DiskFaults none;
      none.folder = faults.image;
      ArmDisk(none);  // Its syncs cost nothing.
      const absl::StatusOr<std::unique_ptr<RocksStore>> store =
          OpenAt(faults.image);
      if (store.ok()) {
        history.Inspect(**store, /*thorough=*/true, out);
      } else {
        out.Say(absl::StrCat("Frefused: ", store.status().message()));
      }
      return 0;
    });
    while (after.ReadLine(&line)) {
      history.Take(line);
    }
    EXPECT_EQ(after.Wait(), 0);
    EXPECT_THAT(history.failures(), IsEmpty())
        << "sync " << faults.fail_sync_at << ", write " << faults.fail_write_at;
    return failed;
  }

  // `at` is the fault's field that is swept.
  void Sweep(const char* what, DiskFaults faults, uint64_t DiskFaults::*at,
             uint64_t step) {
    SweepResult result;
    uint64_t n = 1;
    for (faults.*at = n; Run(faults, &result) && !HasFailure();
         faults.*at = n += step) {
    }
    std::printf("%s: %d failed calls, %d refusals, %d runs went on\n", what,
                result.num_failures, result.num_refused, result.num_recovered);
    EXPECT_GE(result.num_failures, 10);
    EXPECT_GT(result.num_refused, 0);
    if (!faults.keep_failing) {
      EXPECT_GT(result.num_recovered, 0);
    }
  }
};

TEST_F(FailedCallTest, NoAcknowledgementAfterAFailedSync) {
  Sweep("sync", {}, &DiskFaults::fail_sync_at, 1);
}

TEST_F(FailedCallTest, NoAcknowledgementWhileSyncsFail) {
  DiskFaults faults;
  faults.keep_failing = true;
  Sweep("all later syncs", faults, &DiskFaults::fail_sync_at,
        LongForm() ? 1 : 3);
}

TEST_F(FailedCallTest, NoAcknowledgementAfterAFailedWrite) {
  DiskFaults faults;
  faults.write_errno = EIO;
  Sweep("write", faults, &DiskFaults::fail_write_at, LongForm() ? 1 : 3);
}

TEST_F(FailedCallTest, NoAcknowledgementAfterAShortDisk) {
  DiskFaults faults;
  faults.write_errno = ENOSPC;
  Sweep("write, no space", faults, &DiskFaults::fail_write_at,
        LongForm() ? 1 : 3);
}

}  // namespace
}  // namespace stockpot::testing
