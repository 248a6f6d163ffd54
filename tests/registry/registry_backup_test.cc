// Backups of a registry that goes on working.

#include "registry/registry_backup.h"

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/mutex.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "registry/store_audit.h"
#include "tests/registry/rocks_store_fixture.h"
#include "tests/registry/store_fixture.h"
#include "tests/testing/status_matchers.h"

namespace stockpot::testing {
namespace {

using ::testing::_;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr auto kNotFound = absl::StatusCode::kNotFound;

// Writes the backup's files into the new folder `to`.
absl::Status CopyTo(const RegistryBackup& backup, const std::string& to) {
  fs::create_directories(to);
  for (size_t i = 0; i < backup.files().size(); ++i) {
    ASSIGN_OR_RETURN(const std::unique_ptr<BackupFileReader> reader,
                     backup.OpenFile(i));
    std::ofstream file(absl::StrCat(to, "/", backup.files()[i].name),
                       std::ios::binary);
    Sha256 hash;
    std::string chunk;
    while (true) {
      ASSIGN_OR_RETURN(const bool more, reader->Next(&chunk));
      if (!more) {
        break;
      }
      EXPECT_LE(chunk.size(), kBlobChunkBytes);
      hash.Update(chunk);
      file << chunk;
    }
    EXPECT_EQ(hash.Finish(), reader->sha256());
  }
  return absl::OkStatus();
}

// The content of each adapter follows from its name, on both sides of what
// RocksDB keeps in tables and moves to blob files.
std::string ContentOf(const std::string& name) {
  const auto seed = static_cast<uint32_t>(std::hash<std::string>()(name));
  constexpr size_t kSizes[] = {900, 40'000, 150'000, 1'200'000};
  return RandomBytes(kSizes[seed % 4], seed);
}

class RegistryBackupTest : public RocksStoreTest {
 protected:
  // What is known for sure of the calls so far.
  struct Known {
    std::set<std::string> stored;  // Acknowledged.
    std::set<std::string> deletes_begun;
    std::set<std::string> deleted;  // Acknowledged.
  };

  Known Snapshot() {
    MutexLock lock(&known_mu_);
    return known_;
  }
  size_t NumStored() { return Snapshot().stored.size(); }

  void WaitForMore(size_t num_stored) {
    while (NumStored() < num_stored && failures_ == 0) {
      absl::SleepFor(absl::Milliseconds(1));
    }
  }

  void UploadLoop(int thread) {
    for (int i = 0; !stop_; ++i) {
      const std::string name = absl::StrCat("u", thread, "-", i);
      if (!Store(*store_, name, ContentOf(name)).ok()) {
        ++failures_;
        return;
      }
      MutexLock lock(&known_mu_);
      known_.stored.insert(name);
    }
  }

  // Deletes every third of what two of the uploaders store.
  void DeleteLoop(int thread) {
    for (int i = 0; !stop_;) {
      const std::string name = absl::StrCat("u", thread, "-", i);
      {
        MutexLock lock(&known_mu_);
        if (!known_.stored.contains(name)) {
          continue;
        }
        known_.deletes_begun.insert(name);
      }
      if (!store_->Delete(Ref(name)).ok()) {
        ++failures_;
        return;
      }
      i += 3;
      MutexLock lock(&known_mu_);
      known_.deleted.insert(name);
    }
  }

  void ReadLoop() {
    while (!stop_) {
      for (const std::string& name : Snapshot().stored) {
        const absl::StatusOr<ResolvedAdapter> adapter =
            store_->Resolve(Ref(name));
        if (adapter.ok() && ReadBlob(*store_, adapter->digest).value_or("") !=
                                ContentOf(name)) {
          ++failures_;
        }
        if (stop_) {
          return;
        }
      }
    }
  }

  void StartLoad() {
    for (int thread = 0; thread < 4; ++thread) {
      threads_.emplace_back([this, thread] { UploadLoop(thread); });
    }
    for (int thread = 0; thread < 2; ++thread) {
      threads_.emplace_back([this, thread] { DeleteLoop(thread); });
      threads_.emplace_back([this] { ReadLoop(); });
    }
  }
  void StopLoad() {
    stop_ = true;
    for (std::thread& thread : threads_) {
      thread.join();
    }
    threads_.clear();
    EXPECT_EQ(failures_, 0);
  }

  // Opens what was copied to `path` and compares it with what was known
  // `before` the backup began and `after` it was there.
  void CheckRestored(const std::string& path, const Known& before,
                     const Known& after) {
    std::string errors;
    RocksStoreOptions options = Options();
    options.path = path;
    options.log = [&](Severity severity, absl::string_view line) {
      if (severity == Severity::kError || severity == Severity::kWarning) {
        absl::StrAppend(&errors, line, "\n");
      }
    };
    const absl::StatusOr<std::unique_ptr<RocksStore>> restored =
        RocksStore::Open(std::move(options));
    ASSERT_THAT(restored, IsOk());
    EXPECT_EQ(errors, "");
    EXPECT_EQ((*restored)->Stats().num_damaged, 0u);
    for (const std::string& name : before.stored) {
      const absl::StatusOr<AdapterRecord> record = (*restored)->Get(Ref(name));
      if (before.deleted.contains(name)) {
        EXPECT_THAT(record, StatusIs(kNotFound, _)) << name;
      } else if (!after.deletes_begun.contains(name)) {
        ASSERT_THAT(record, IsOk()) << name;
        EXPECT_TRUE(ReadBlob(**restored, record->digest).value_or("") ==
                    ContentOf(name))
            << name;
      }
    }
    // It is a registry like any other.
    EXPECT_THAT(Store(**restored, "new", "x"), IsOk());
  }

  Mutex known_mu_;
  Known known_;
  std::vector<std::thread> threads_;
  std::atomic<bool> stop_ = false;
  std::atomic<int> failures_ = 0;
};

TEST_F(RegistryBackupTest, UnderLoadItHoldsAllThatWasAcknowledgedBefore) {
  RocksStoreOptions options = Options();
  options.write_buffer_bytes = kMiB;  // Files come and go.
  ASSERT_THAT(Open(options), IsOk());
  StartLoad();
  std::map<std::string, std::pair<Known, Known>> copies;
  for (int round = 0; round < 3; ++round) {
    WaitForMore(NumStored() + 24);
    const Known before = Snapshot();
    absl::StatusOr<std::unique_ptr<RegistryBackup>> backup =
        store_->BeginBackup();
    ASSERT_THAT(backup, IsOk());
    const Known after = Snapshot();
    // Nobody waits for the backup to end, and it does not see what comes.
    WaitForMore(NumStored() + 12);
    const std::string copy = absl::StrCat(dir_.path(), "/copy", round);
    ASSERT_THAT(CopyTo(**backup, copy), IsOk());
    copies[copy] = {before, after};
  }
  StopLoad();
  EXPECT_FALSE(Snapshot().deleted.empty());
  for (const auto& [copy, known] : copies) {
    CheckRestored(copy, known.first, known.second);
  }
  EXPECT_EQ(Errors(), "");
}

TEST_F(RegistryBackupTest, WhatIsDeletedMeanwhileIsStillInIt) {
  ASSERT_THAT(Open(), IsOk());
  for (const char* name : {"a", "b", "c"}) {
    ASSERT_THAT(Store(*store_, name, RandomBytes(3 * kMiB, name[0])), IsOk());
  }
  ASSERT_THAT(store_->Flush(), IsOk());
  absl::StatusOr<std::unique_ptr<RegistryBackup>> backup =
      store_->BeginBackup();
  ASSERT_THAT(backup, IsOk());
  for (const char* name : {"a", "b", "c"}) {
    ASSERT_THAT(store_->Delete(Ref(name)), IsOk());
  }
  store_->WaitForSweep();
  const std::string copy = dir_.path() + "/copy";
  ASSERT_THAT(CopyTo(**backup, copy), IsOk());
  backup->reset();
  path_ = copy;
  ASSERT_THAT(Open(), IsOk());
  for (const char* name : {"a", "b", "c"}) {
    EXPECT_THAT(ReadBlob(*store_, store_->Get(Ref(name))->digest),
                IsOkAndHolds(RandomBytes(3 * kMiB, name[0])));
  }
  EXPECT_EQ(Errors(), "");
}

TEST_F(RegistryBackupTest, HasNoWitnessAndSaysWhatItIs) {
  ASSERT_THAT(Open(), IsOk());
  ASSERT_THAT(Store(*store_, "a", "x"), IsOk());
  const std::unique_ptr<RegistryBackup> backup = store_->BeginBackup().value();
  std::vector<std::string> names;
  uint64_t size_bytes = 0;
  for (const RegistryBackup::File& file : backup->files()) {
    names.push_back(file.name);
    size_bytes += file.size_bytes;
  }
  EXPECT_THAT(names, Contains("CURRENT"));
  EXPECT_THAT(names, Not(Contains("WITNESS")));
  EXPECT_THAT(names, Not(Contains("LOCK")));
  EXPECT_EQ(backup->size_bytes(), size_bytes);
  EXPECT_EQ(backup->format_version(), kStoreFormat);
}

TEST_F(RegistryBackupTest, OneAtATimeAndNothingStaysBehind) {
  ASSERT_THAT(Open(), IsOk());
  const std::string folder = path_ + "/" + RegistryBackup::kFolderName;
  std::unique_ptr<RegistryBackup> backup = store_->BeginBackup().value();
  EXPECT_TRUE(fs::exists(folder));
  EXPECT_THAT(store_->BeginBackup().status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("backed up already")));
  EXPECT_TRUE(fs::exists(folder));
  backup.reset();
  EXPECT_FALSE(fs::exists(folder));
  EXPECT_THAT(store_->BeginBackup(), IsOk());
}

TEST_F(RegistryBackupTest, WhatACrashLeftGoesAtTheNextStart) {
  ASSERT_THAT(Open(), IsOk());
  ASSERT_THAT(Store(*store_, "a", "x"), IsOk());
  store_.reset();
  const std::string folder = path_ + "/" + RegistryBackup::kFolderName;
  for (const char* suffix : {"", ".tmp"}) {
    fs::create_directories(folder + suffix);
    std::ofstream(folder + suffix + "/000007.blob") << "bytes";
  }
  ASSERT_THAT(Open(), IsOk());
  EXPECT_FALSE(fs::exists(folder));
  EXPECT_FALSE(fs::exists(folder + ".tmp"));
  EXPECT_THAT(store_->BeginBackup(), IsOk());
}

TEST_F(RegistryBackupTest, AFileThatShrinksIsDataLoss) {
  ASSERT_THAT(Open(), IsOk());
  const std::unique_ptr<RegistryBackup> backup = store_->BeginBackup().value();
  // A copy, not a link.
  fs::resize_file(path_ + "/" + RegistryBackup::kFolderName + "/CURRENT", 3);
  EXPECT_THAT(CopyTo(*backup, dir_.path() + "/copy"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("CURRENT")));
}

TEST_F(RegistryBackupTest, AFullDiskIsNotFilledFurther) {
  RocksStoreOptions options = Options();
  options.reserve_bytes = uint64_t{1} << 60;
  ASSERT_THAT(Open(options), IsOk());
  EXPECT_THAT(store_->BeginBackup().status(),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("free some space")));
  EXPECT_TRUE(store_->Stats().writable);
}

}  // namespace
}  // namespace stockpot::testing
