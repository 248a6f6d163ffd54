// Kills a process in which four threads upload, two read and one deletes, again
// and again, and holds the registry to what it had acknowledged.

#include <signal.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/mutex.h"
#include "registry/adapter_store.h"
#include "registry/rocks_store.h"
#include "tests/faults/child_process.h"
#include "tests/faults/fault_form.h"
#include "tests/faults/history.h"
#include "tests/registry/store_fixture.h"

namespace stockpot::testing {
namespace {

using ::testing::IsEmpty;

constexpr int kUploaders = 4;
constexpr int kReaders = 2;

RocksStoreOptions OptionsFor(const std::string& path) {
  RocksStoreOptions options;
  options.path = path;
  options.reserve_bytes = 1 << 20;
  options.write_buffer_bytes = 4 << 20;  // Flushes happen in the short runs.
  options.log = [](Severity, absl::string_view) {};
  return options;
}

// The threads of a child, which work until they are killed.
class Workers {
 public:
  Workers(RocksStore& store, std::string prefix, const LineWriter& out)
      : store_(store), prefix_(std::move(prefix)), out_(out) {}

  [[noreturn]] void Run() {
    std::vector<std::thread> threads;
    for (int i = 0; i < kUploaders; ++i) {
      threads.emplace_back([this, i] { Upload(i); });
    }
    for (int i = 0; i < kReaders; ++i) {
      threads.emplace_back([this, i] { Read(i); });
    }
    Delete();
  }

 private:
  [[noreturn]] void Upload(int thread) {
    for (int i = 0;; ++i) {
      const std::string name = absl::StrCat(prefix_, thread, "-", i);
      out_.Say(absl::StrCat("?", name));
      const absl::Status status = Store(store_, name, BytesOf(name)).status();
      if (!status.ok()) {
        out_.Say(absl::StrCat("Fupload: ", status.message()));
        continue;
      }
      out_.Say(absl::StrCat("+", name));
      MutexLock lock(&mu_);
      stored_.push_back(name);
    }
  }

  [[noreturn]] void Read(int seed) {
    std::mt19937 random(static_cast<uint32_t>(seed));
    for (;;) {
      const std::string name = Pick(random(), /*take=*/false);
      const absl::StatusOr<AdapterRecord> record =
          name.empty() ? absl::NotFoundError("") : store_.Get(Ref(name));
      const absl::StatusOr<std::string> bytes =
          record.ok() ? ReadBlob(store_, record->digest)
                      : absl::StatusOr<std::string>(record.status());
      // The deleter may have been faster.
      if (bytes.ok() ? *bytes != BytesOf(name)
                     : !absl::IsNotFound(bytes.status())) {
        out_.Say(absl::StrCat("Fread: ", name, bytes.status().message()));
      }
      absl::SleepFor(absl::Milliseconds(2));
    }
  }

  [[noreturn]] void Delete() {
    std::mt19937 random(99);
    for (;;) {
      absl::SleepFor(absl::Milliseconds(5));
      const std::string name = Pick(random(), /*take=*/true);
      if (!name.empty()) {
        out_.Say(absl::StrCat("?", name));
        const absl::Status status = store_.Delete(Ref(name));
        out_.Say(status.ok() ? absl::StrCat("-", name)
                             : absl::StrCat("Fdelete: ", status.message()));
      }
    }
  }

  // A stored name; empty if there are fewer than three.
  std::string Pick(uint64_t random, bool take) {
    MutexLock lock(&mu_);
    if (stored_.size() < 3) {
      return "";
    }
    std::string& picked = stored_[random % stored_.size()];
    const std::string name = picked;
    if (take) {
      std::swap(picked, stored_.back());
      stored_.pop_back();
    }
    return name;
  }

  RocksStore& store_;
  const std::string prefix_;
  const LineWriter& out_;
  Mutex mu_;
  std::vector<std::string> stored_ ABSL_GUARDED_BY(mu_);
};

class KillTest : public ::testing::Test {
 protected:
  // Takes one line of a child.
  void Take(const std::string& line) {
    if (line[0] == 'T') {
      double seconds = 0;
      EXPECT_TRUE(absl::SimpleAtod(line.substr(1), &seconds));
      slowest_open_ = std::max(slowest_open_, absl::Seconds(seconds));
    } else {
      num_acknowledged_ += line[0] == '+' ? 1 : 0;
      EXPECT_TRUE(history_.Take(line)) << line;
    }
  }

  // Opens the store, inspects it, says "R" when ready, runs `work`.
  int Child(bool thorough, const LineWriter& out,
            const std::function<void(RocksStore&)>& work) {
    const absl::Time start = absl::Now();
    const absl::StatusOr<std::unique_ptr<RocksStore>> store =
        RocksStore::Open(OptionsFor(path_));
    if (!store.ok()) {
      out.Say(absl::StrCat("Fopen: ", store.status().ToString()));
      return 1;
    }
    out.Say(absl::StrCat("T", absl::ToDoubleSeconds(absl::Now() - start)));
    history_.Inspect(**store, thorough, out);
    out.Say("R");
    work(**store);
    return 0;
  }

  // Takes lines until "R".
  void AwaitReady(ChildProcess& child) {
    std::string line;
    while (child.ReadLine(&line) && line != "R") {
      Take(line);
    }
    ASSERT_EQ(line, "R");
  }

  void TakeRest(ChildProcess& child) {
    std::string line;
    while (child.ReadLine(&line)) {
      Take(line);
    }
  }

  TempDir dir_;
  const std::string path_ = dir_.path() + "/db";
  History history_;
  int num_acknowledged_ = 0;
  absl::Duration slowest_open_;
};

TEST_F(KillTest, WhatWasAcknowledgedSurvives) {
  const int cycles = Cycles(150, 3000);
  std::mt19937 random(7);
  for (int cycle = 1; cycle <= cycles && history_.failures().empty(); ++cycle) {
    ChildProcess child([&](const LineWriter& out) {
      return Child(cycle % 25 == 0, out, [&](RocksStore& store) {
        Workers(store, absl::StrCat("c", cycle, "-"), out).Run();
      });
    });
    AwaitReady(child);
    absl::SleepFor(absl::Milliseconds(10 + random() % (LongForm() ? 590 : 60)));
    child.Kill();
    TakeRest(child);
    EXPECT_EQ(child.Wait(), -SIGKILL);
  }
  ChildProcess last([&](const LineWriter& out) {
    return Child(true, out, [](RocksStore&) {});
  });
  AwaitReady(last);
  EXPECT_THAT(history_.failures(), IsEmpty());
  // The kills must have hit a store at work.
  EXPECT_GE(num_acknowledged_, 2 * cycles);
  std::printf("%d kills, %d acknowledged, slowest open %s\n", cycles,
              num_acknowledged_, absl::FormatDuration(slowest_open_).c_str());
}

TEST_F(KillTest, AThousandAdaptersAreBackSoon) {
  constexpr int kAdapters = 1000;
  ChildProcess child([&](const LineWriter& out) {
    return Child(false, out, [&](RocksStore& store) {
      for (int i = 0; i < kAdapters; ++i) {
        const std::string name = absl::StrCat("c1-", i);
        if (!Store(store, name, RandomBytes(3000, i)).ok()) {
          out.Say("Fupload");
        }
        out.Say(absl::StrCat("+", name));
      }
      out.Say("R");
      absl::SleepFor(absl::Minutes(10));
    });
  });
  AwaitReady(child);
  AwaitReady(child);
  child.Kill();
  child.Wait();
  EXPECT_EQ(num_acknowledged_, kAdapters);
  ChildProcess again([&](const LineWriter& out) {
    return Child(false, out, [](RocksStore&) {});
  });
  AwaitReady(again);
  EXPECT_THAT(history_.failures(), IsEmpty());
  std::printf("%d adapters: open again in %s\n", kAdapters,
              absl::FormatDuration(slowest_open_).c_str());
  EXPECT_LT(slowest_open_, absl::Minutes(1));
}

}  // namespace
}  // namespace stockpot::testing
