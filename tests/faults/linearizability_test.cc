// Eight clients work on ten names at once; their history must be one that a
// registry which takes calls one at a time could have answered.

#include "tests/faults/linearizability.h"

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "registry/adapter_store.h"
#include "registry/rocks_store.h"
#include "tests/faults/fault_form.h"
#include "tests/registry/store_fixture.h"
#include "tests/testing/status_matchers.h"

namespace stockpot::testing {
namespace {

using Kind = NameCall::Kind;

constexpr int kClients = 8;
constexpr int kNames = 10;
constexpr int kContents = 6;
constexpr int64_t kVersions = 6;  // That clients ask for by number.

NameCall Call(int client, uint64_t start, uint64_t end, Kind kind,
              int64_t version, int content, bool found = true) {
  NameCall call;
  call.client = client;
  call.start = start;
  call.end = end;
  call.kind = kind;
  call.version = version;
  call.content = content;
  call.found = found;
  return call;
}

TEST(FindViolationTest, AcceptsWhatSomeOrderExplains) {
  // A read beside a write may see either.
  for (const bool found : {false, true}) {
    EXPECT_EQ(FindViolation({Call(0, 1, 4, Kind::kRegister, 1, 7),
                             Call(1, 2, 3, Kind::kGet, 1, 7, found)}),
              "");
  }
  // The later starter first, and a third in between.
  EXPECT_EQ(FindViolation({Call(0, 1, 10, Kind::kRegister, 2, 7),
                           Call(1, 2, 9, Kind::kRegister, 1, 8),
                           Call(2, 3, 8, Kind::kGetNewest, 1, 8),
                           Call(2, 11, 12, Kind::kDelete, 1, 0),
                           Call(2, 13, 14, Kind::kGet, 1, 0, false)}),
            "");
}

TEST(FindViolationTest, RefusesAStaleRead) {
  EXPECT_NE(FindViolation({Call(0, 1, 2, Kind::kRegister, 1, 7),
                           Call(1, 3, 4, Kind::kGet, 1, 0, false)}),
            "");
  // Two readers, one after the other, who see a write come and go.
  EXPECT_NE(FindViolation({Call(0, 1, 10, Kind::kRegister, 1, 7),
                           Call(1, 2, 3, Kind::kGet, 1, 7),
                           Call(2, 4, 5, Kind::kGet, 1, 0, false)}),
            "");
}

TEST(FindViolationTest, RefusesTwoWinnersAndLostWrites) {
  EXPECT_NE(FindViolation({Call(0, 1, 4, Kind::kRegisterAt, 1, 7),
                           Call(1, 2, 3, Kind::kRegisterAt, 1, 8)}),
            "");
  EXPECT_NE(FindViolation({Call(0, 1, 4, Kind::kRegister, 1, 7),
                           Call(1, 2, 3, Kind::kRegister, 1, 8)}),
            "");
  EXPECT_NE(FindViolation({Call(0, 1, 2, Kind::kRegister, 1, 7),
                           Call(1, 3, 4, Kind::kRegister, 2, 8),
                           Call(0, 5, 6, Kind::kGetNewest, 1, 7)}),
            "");
  NameCall list = Call(1, 5, 6, Kind::kList, 0, 0);
  list.versions = {{1, 7}};
  EXPECT_NE(FindViolation({Call(0, 1, 2, Kind::kRegister, 1, 7),
                           Call(0, 3, 4, Kind::kDelete, 1, 0), list}),
            "");
}

std::string ContentOf(int content) { return RandomBytes(3000, 77 + content); }

// -1 if they are nobody's.
int ContentIn(const std::string& bytes) {
  for (int content = 0; content < kContents; ++content) {
    if (bytes == ContentOf(content)) {
      return content;
    }
  }
  return -1;
}

class LinearizabilityTest : public ::testing::Test {
 protected:
  void SetUp() override {
    RocksStoreOptions options;
    options.path = dir_.path() + "/db";
    options.reserve_bytes = 1 << 20;
    options.max_uploads = 64;
    options.write_buffer_bytes = 1 << 20;
    options.log = [](Severity, absl::string_view) {};
    absl::StatusOr<std::unique_ptr<RocksStore>> store =
        RocksStore::Open(std::move(options));
    ASSERT_THAT(store, IsOk());
    store_ = *std::move(store);
  }

  uint64_t Now() { return clock_.fetch_add(1); }

  // Resolves, and reads while the pin is held. `call` gets what was found.
  void Read(const AdapterRef& ref, NameCall* call) {
    const absl::StatusOr<ResolvedAdapter> resolved = store_->Resolve(ref);
    call->end = Now();
    call->found = resolved.ok();
    if (!resolved.ok()) {
      EXPECT_TRUE(absl::IsNotFound(resolved.status())) << resolved.status();
      return;
    }
    const absl::StatusOr<std::string> bytes =
        ReadBlob(*store_, resolved->digest);
    EXPECT_THAT(bytes, IsOk()) << "while pinned";
    call->version = resolved->version;
    call->content = bytes.ok() ? ContentIn(*bytes) : -1;
    EXPECT_GE(call->content, 0) << "mixed or wrong bytes";
  }

  void Register(UploadSpec spec, const std::string& bytes, NameCall* call) {
    const absl::StatusOr<CommitResult> result =
        Store(*store_, std::move(spec), bytes);
    call->end = Now();
    call->found = result.ok();
    if (result.ok()) {
      call->version = result->record.version;
    } else {
      EXPECT_TRUE(absl::IsAlreadyExists(result.status())) << result.status();
    }
  }

  void List(const std::string& name, NameCall* call) {
    ListOptions options;
    options.name_prefix = name;
    options.all_versions = true;
    options.page_size = NameCall::kMaxListed;
    const absl::StatusOr<AdapterPage> page = store_->List(options);
    call->end = Now();
    ASSERT_THAT(page, IsOk());
    for (const AdapterRecord& record : page->records) {
      for (int content = 0; content < kContents; ++content) {
        if (record.safetensors_sha256 == sha256_[content]) {
          call->versions[record.version] = content;
        }
      }
    }
  }

  NameCall MakeCall(int client, const std::string& name, std::mt19937& random) {
    NameCall call;
    call.client = client;
    call.content = static_cast<int>(random() % kContents);
    call.version = 1 + random() % kVersions;
    AdapterRef ref;
    ref.name = name;
    const std::string bytes = ContentOf(call.content);
    UploadSpec spec = SpecFor(name, bytes);
    const uint32_t kind = random() % 12;
    call.start = Now();
    if (kind < 2) {
      call.kind = Kind::kRegister;
      Register(spec, bytes, &call);
    } else if (kind < 4) {
      call.kind = Kind::kRegisterAt;
      spec.version = call.version;
      Register(spec, bytes, &call);
    } else if (kind < 6) {
      call.kind = Kind::kGetNewest;
      Read(ref, &call);
    } else if (kind < 8) {
      call.kind = Kind::kGet;
      ref.version = call.version;
      Read(ref, &call);
    } else if (kind < 11) {
      call.kind = Kind::kDelete;
      ref.version = call.version;
      const absl::Status status = store_->Delete(ref);
      call.end = Now();
      call.found = status.ok();
      EXPECT_TRUE(status.ok() || absl::IsNotFound(status)) << status;
    } else {
      call.kind = Kind::kList;
      List(name, &call);
    }
    return call;
  }

  TempDir dir_;
  std::unique_ptr<RocksStore> store_;
  std::atomic<uint64_t> clock_ = 1;
  const std::vector<Digest> sha256_ = [] {
    std::vector<Digest> digests;
    for (int content = 0; content < kContents; ++content) {
      digests.push_back(Sha256::Of(ContentOf(content)));
    }
    return digests;
  }();
};

TEST_F(LinearizabilityTest, HistoriesOfEightClients) {
  const int num_calls = Cycles(500, 10'000);
  std::vector<NameCall> histories[kClients][kNames];
  std::vector<std::thread> threads;
  for (int client = 0; client < kClients; ++client) {
    threads.emplace_back([&, client] {
      std::mt19937 random(static_cast<uint32_t>(client));
      for (int i = 0; i < num_calls; ++i) {
        const int name = static_cast<int>(random() % kNames);
        histories[client][name].push_back(
            MakeCall(client, absl::StrCat("n", name), random));
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  size_t total = 0;
  int num_refused = 0;
  for (int name = 0; name < kNames; ++name) {
    std::vector<NameCall> calls;
    for (int client = 0; client < kClients; ++client) {
      for (const NameCall& call : histories[client][name]) {
        num_refused += call.found ? 0 : 1;
        calls.push_back(call);
      }
    }
    total += calls.size();
    EXPECT_EQ(FindViolation(calls), "") << "name " << name;
    // The same history with one answer turned round must be refused.
    for (NameCall& call : calls) {
      if (call.kind == Kind::kGetNewest && call.found) {
        call.content = (call.content + 1) % kContents;
        call.version += 1000;
        break;
      }
    }
    EXPECT_NE(FindViolation(calls), "") << "name " << name;
  }
  std::printf("%zu calls, %d of them found or took nothing\n", total,
              num_refused);
  EXPECT_GT(num_refused, 0);
}

TEST_F(LinearizabilityTest, OneWinnerForEachVersion) {
  const int num_versions = Cycles(60, 2000);
  for (int64_t version = 1; version <= num_versions; ++version) {
    std::atomic<int> num_winners = 0;
    std::atomic<int> winner = -1;
    std::vector<std::thread> threads;
    for (int client = 0; client < kClients; ++client) {
      threads.emplace_back([&, client] {
        const std::string bytes =
            RandomBytes(500, static_cast<uint32_t>(1000 + client));
        UploadSpec spec = SpecFor("raced", bytes);
        spec.version = version;
        const absl::Status status =
            Store(*store_, std::move(spec), bytes).status();
        if (status.ok()) {
          ++num_winners;
          winner = client;
        } else {
          EXPECT_TRUE(absl::IsAlreadyExists(status)) << status;
        }
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    ASSERT_EQ(num_winners, 1) << "version " << version;
    const absl::StatusOr<AdapterRecord> record =
        store_->Get(Ref(absl::StrCat("raced@", version)));
    ASSERT_THAT(record, IsOk());
    EXPECT_THAT(
        ReadBlob(*store_, record->digest),
        IsOkAndHolds(RandomBytes(500, static_cast<uint32_t>(1000 + winner))));
  }
}

}  // namespace
}  // namespace stockpot::testing
