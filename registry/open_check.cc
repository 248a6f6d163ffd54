#include "registry/open_check.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "rocksdb/db.h"
#include "rocksdb/env.h"
#include "rocksdb/options.h"
#include "rocksdb/status.h"

#include "base/log.h"
#include "base/status_macros.h"
#include "registry/commit_witness.h"
#include "registry/index_seal.h"
#include "registry/rocks_db.h"
#include "registry/rocks_status.h"

namespace stockpot {
namespace {

namespace fs = std::filesystem;

// Holds RocksDB's lock file, or tells that somebody else does.
class FolderLock {
 public:
  explicit FolderLock(const std::string& path) {
    held_ = rocksdb::Env::Default()->LockFile(path + "/LOCK", &lock_).ok();
  }
  ~FolderLock() {
    if (held_) {
      rocksdb::Env::Default()->UnlockFile(lock_);
    }
  }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

  bool held() const { return held_; }

 private:
  rocksdb::FileLock* lock_ = nullptr;
  bool held_ = false;
};

// Files that hold data: they come after CURRENT and go before it.
uint64_t CountDataFiles(const std::string& path) {
  uint64_t num_files = 0;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(path, error)) {
    const fs::path extension = entry.path().extension();
    num_files +=
        extension == ".sst" || extension == ".blob" || extension == ".log" ? 1
                                                                           : 0;
  }
  return num_files;
}

absl::Status Advise(const absl::Status& status, const std::string& path) {
  return absl::Status(
      status.code(),
      absl::StrCat(status.message(), ". Nothing was changed in ", path,
                   ": put the lost files back, or restore a backup into an "
                   "empty folder"));
}

rocksdb::Status OpenReadOnly(const rocksdb::Options& options,
                             const std::string& path,
                             std::unique_ptr<rocksdb::DB>* db) {
  rocksdb::DB* raw = nullptr;
  rocksdb::Status status = rocksdb::DB::OpenForReadOnly(options, path, &raw);
  db->reset(raw);
  return status;
}

// True if all that is acknowledged lies before the damage in the log.
bool OnlyUnacknowledgedLost(const rocksdb::Options& options,
                            const std::string& path, uint64_t num_commits) {
  std::unique_ptr<rocksdb::DB> db;
  return OpenReadOnly(options, path, &db).ok() &&
         CheckSeal(*db, num_commits).ok();
}

}  // namespace

absl::Status CheckBeforeOpen(const std::string& path,
                             const CommitWitness& witness,
                             const RocksDb::LogSink& log,
                             rocksdb::Options* options) {
  const FolderLock lock(path);
  if (!lock.held()) {
    return absl::OkStatus();
  }
  const absl::StatusOr<uint64_t> num_commits = witness.Read();
  const bool was_there = !absl::IsNotFound(num_commits.status());
  options->create_if_missing = false;
  std::error_code error;
  if (!fs::exists(path + "/CURRENT", error)) {
    const uint64_t num_files = CountDataFiles(path);
    if (was_there || num_files > 0) {
      return Advise(absl::DataLossError(absl::StrCat(
                        "the registry's file CURRENT is missing, although ",
                        num_files, " data files are there")),
                    path);
    }
    options->create_if_missing = true;
    return absl::OkStatus();
  }
  if (was_there && !num_commits.ok()) {
    log(Severity::kError,
        absl::StrCat(num_commits.status().message(),
                     "; it is written anew, and this start cannot tell "
                     "whether the end of the registry's log is lost"));
  }
  std::unique_ptr<rocksdb::DB> db;
  const rocksdb::Status status = OpenReadOnly(*options, path, &db);
  if (status.ok()) {
    const absl::Status seal = CheckSeal(*db, num_commits.value_or(0));
    return seal.ok() ? seal : Advise(seal, path);
  }
  if (status.IsCorruption() && num_commits.ok()) {
    rocksdb::Options until_damage = *options;
    until_damage.wal_recovery_mode =
        rocksdb::WALRecoveryMode::kPointInTimeRecovery;
    if (OnlyUnacknowledgedLost(until_damage, path, *num_commits)) {
      log(Severity::kWarning,
          absl::StrCat("the registry's log is damaged behind everything that "
                       "was acknowledged; dropping what follows: ",
                       status.ToString()));
      *options = until_damage;
      return absl::OkStatus();
    }
  }
  const absl::Status converted = FromRocks(status, "open its database");
  return Advise(
      absl::Status(converted.code(), absl::StrCat(converted.message(), " [",
                                                  status.ToString(), "]")),
      path);
}

}  // namespace stockpot
