// Takes the power away at any call that changes the disk, drops what was not
// synced, and holds the registry to what it had acknowledged. The same run on a
// disk that ignores syncs must lose adapters: else this test could not.

#include <signal.h>

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "registry/adapter_store.h"
#include "registry/commit_witness.h"
#include "registry/rocks_store.h"
#include "tests/faults/child_process.h"
#include "tests/faults/fault_form.h"
#include "tests/faults/history.h"
#include "tests/faults/simulated_disk.h"
#include "tests/registry/store_fixture.h"
#include "tests/testing/status_matchers.h"

namespace stockpot::testing {
namespace {

using ::testing::IsEmpty;

namespace fs = std::filesystem;

class PowerLossTest : public ::testing::Test {
 protected:
  // Two threads upload, every fourth adapter is deleted again, until the power
  // goes, at the latest after eight uploads each.
  void Work(RocksStore& store, int cycle, const LineWriter& out) {
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 2; ++thread) {
      threads.emplace_back([&, thread] {
        for (int i = 0; i < 8; ++i) {
          const std::string name = absl::StrCat("c", cycle, "-", thread, i);
          out.Say("?" + name);
          if (Store(store, name, BytesOf(name)).ok()) {
            out.Say("+" + name);
          }
          if (i % 4 == 2) {
            out.Say("?" + name);
            out.Say((store.Delete(Ref(name)).ok() ? "-" : "?") + name);
          }
        }
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
  }

  int Child(int cycle, const DiskFaults& faults, const LineWriter& out) {
    ArmDisk(faults);
    RocksStoreOptions options;
    options.path = path_;
    options.reserve_bytes = 1 << 20;
    options.write_buffer_bytes = 512 << 10;  // Files come and go.
    options.log = [&](Severity, absl::string_view line) {
      if (absl::StrContains(line, "dropping what follows")) {
        out.Say("D");
      }
    };
    const absl::StatusOr<std::unique_ptr<RocksStore>> store =
        RocksStore::Open(std::move(options));
    if (!store.ok()) {
      out.Say(absl::StrCat("Frefused: ", store.status().message()));
      return 1;
    }
    out.Say("O");
    history_.Inspect(**store, cycle % 10 == 0, out);
    Work(**store, cycle, out);
    PowerOff();
  }

  // Reads all that a child says.
  void Follow(ChildProcess& child) {
    std::string line;
    while (child.ReadLine(&line)) {
      num_opened_ += line == "O" ? 1 : 0;
      num_torn_logs_ += line == "D" ? 1 : 0;
      num_acknowledged_ += line[0] == '+' ? 1 : 0;
      history_.Take(line);
    }
  }

  // One life of the machine: from the disk that the last one left to the next.
  void Live(int cycle, DiskFaults faults) {
    faults.folder = path_;
    faults.image = dir_.path() + "/image";
    faults.seed = static_cast<uint64_t>(cycle);
    faults.keep_random_part = cycle % 2 == 0;
    faults.keep_last_written = cycle % 6 == 1;
    // Mostly in the midst of work; sometimes while it opens.
    faults.power_off_at = 1 + random_() % (cycle % 5 == 0 ? 40 : 250);
    ChildProcess child(
        [&](const LineWriter& out) { return Child(cycle, faults, out); });
    Follow(child);
    if (child.Wait() == -SIGKILL) {
      ASSERT_TRUE(fs::exists(faults.image));
      fs::remove_all(path_);
      fs::rename(faults.image, path_);
    }
  }

  TempDir dir_;
  const std::string path_ = dir_.path() + "/db";
  History history_;
  std::mt19937 random_{3};
  int num_opened_ = 0;
  int num_acknowledged_ = 0;
  int num_torn_logs_ = 0;  // Damaged before their end.
};

TEST_F(PowerLossTest, LosesNothingThatWasAcknowledged) {
  fs::create_directory(path_);
  const int cycles = Cycles(300, 5000);
  for (int cycle = 1; cycle <= cycles; ++cycle) {
    Live(cycle, {});
    ASSERT_THAT(history_.failures(), IsEmpty()) << "in cycle " << cycle;
    if (cycle % 20 == 0) {
      // A new machine: copying a large disk is what takes the time.
      fs::remove_all(path_);
      fs::create_directory(path_);
      history_ = {};
    }
  }
  std::printf(
      "%d power failures, %d of them while it opened, %d acknowledged, %d logs "
      "with holes\n",
      cycles, cycles - num_opened_, num_acknowledged_, num_torn_logs_);
  EXPECT_GE(num_acknowledged_, cycles);
  EXPECT_LT(num_opened_, cycles);
}

// RocksDB goes from one log to the next between any two writes, and replays the
// next although the end of the one before is lost.
TEST_F(PowerLossTest, BytesAreDurableBeforeTheirNameIsWritten) {
  constexpr uint64_t kMostCalls = 400;
  bool power_went = true;
  for (uint64_t at = 1; power_went; ++at) {
    ASSERT_LE(at, kMostCalls);
    fs::remove_all(path_);
    fs::create_directory(path_);
    history_ = {};
    DiskFaults faults;
    faults.folder = path_;
    faults.image = dir_.path() + "/image";
    faults.power_off_at = at;
    faults.keep_last_written = true;
    const auto open = [&] {
      RocksStoreOptions options;
      options.path = path_;
      options.reserve_bytes = 1 << 20;
      options.write_buffer_bytes = 64 << 10;  // RocksDB's least.
      return RocksStore::Open(std::move(options));
    };
    ChildProcess uploads([&](const LineWriter& out) {
      ArmDisk(faults);
      const absl::StatusOr<std::unique_ptr<RocksStore>> store = open();
      for (int i = 0; store.ok() && i < 12; ++i) {
        const std::string name = absl::StrCat("a", i);
        out.Say("?" + name);
        if (Store(**store, name, BytesOf(name)).ok()) {
          out.Say("+" + name);
        }
      }
      return 0;
    });
    Follow(uploads);
    power_went = uploads.Wait() == -SIGKILL;
    if (power_went) {
      fs::remove_all(path_);
      fs::rename(faults.image, path_);
    }
    ChildProcess inspects([&](const LineWriter& out) {
      const absl::StatusOr<std::unique_ptr<RocksStore>> store = open();
      if (!store.ok()) {
        out.Say(absl::StrCat("Frefused: ", store.status().message()));
        return 1;
      }
      history_.Inspect(**store, /*thorough=*/true, out);
      return 0;
    });
    Follow(inspects);
    EXPECT_EQ(inspects.Wait(), 0);
    ASSERT_THAT(history_.failures(), IsEmpty()) << "at call " << at;
  }
}

// Without it, a hole that the next power failure leaves in the log cannot be
// told from a loss, and the registry refuses to open.
TEST_F(PowerLossTest, WitnessIsThereOnceItWasOpen) {
  fs::create_directory(path_);
  DiskFaults faults;
  faults.folder = path_;
  faults.image = dir_.path() + "/image";
  ChildProcess child([&](const LineWriter&) {
    ArmDisk(faults);
    RocksStoreOptions options;
    options.path = path_;
    options.reserve_bytes = 1 << 20;
    if (!RocksStore::Open(std::move(options)).ok()) {
      return 1;
    }
    PowerOff();
  });
  EXPECT_EQ(child.Wait(), -SIGKILL);
  EXPECT_TRUE(fs::exists(faults.image + "/" + CommitWitness::kFileName));
}

// A registry whose name the power takes away is lost with all that is in it.
// The first sync of a new one is that of the folder above it.
TEST_F(PowerLossTest, TheNameOfANewFolderIsSynced) {
  const std::string above = dir_.path() + "/above";
  fs::create_directory(above);
  DiskFaults faults;
  faults.folder = above;
  faults.fail_sync_at = 1;
  ChildProcess child([&](const LineWriter& out) {
    ArmDisk(faults);
    RocksStoreOptions options;
    options.path = above + "/db";
    out.Say(
        std::string(RocksStore::Open(std::move(options)).status().message()));
    return 0;
  });
  std::string line;
  ASSERT_TRUE(child.ReadLine(&line));
  EXPECT_EQ(line, "the folder " + above +
                      " cannot be synced: " + "Input/output error");
  EXPECT_EQ(child.Wait(), 0);
}

// By itself: RocksDB may sync the folder after it, or not.
TEST_F(PowerLossTest, WitnessIsThereOnceItWasSynced) {
  fs::create_directory(path_);
  DiskFaults faults;
  faults.folder = path_;
  faults.image = dir_.path() + "/image";
  ChildProcess child([&](const LineWriter&) {
    ArmDisk(faults);
    CommitWitness witness(path_ + "/" + CommitWitness::kFileName);
    if (!witness.Write(7).ok() || !witness.Sync().ok()) {
      return 1;
    }
    PowerOff();
  });
  EXPECT_EQ(child.Wait(), -SIGKILL);
  const CommitWitness found(faults.image + "/" + CommitWitness::kFileName);
  EXPECT_THAT(found.Read(), IsOkAndHolds(7));
}

// The disk's promises broken, the registry's are: this is what the test above
// would see if a sync were missing.
TEST_F(PowerLossTest, WithoutSyncsLossesAreSeen) {
  fs::create_directory(path_);
  DiskFaults faults;
  faults.ignore_syncs = true;
  for (int cycle = 1; cycle <= 5; ++cycle) {
    Live(cycle, faults);
  }
  std::printf("%zu losses\n", history_.failures().size());
  EXPECT_FALSE(history_.failures().empty());
}

TEST_F(PowerLossTest, WithoutSyncsOfTheLogLossesAreSeen) {
  fs::create_directory(path_);
  DiskFaults faults;
  faults.ignore_syncs = true;
  faults.ignored_suffix = ".log";
  for (int cycle = 1; cycle <= 20 && history_.failures().empty(); ++cycle) {
    Live(cycle, faults);
  }
  EXPECT_FALSE(history_.failures().empty());
}

}  // namespace
}  // namespace stockpot::testing
