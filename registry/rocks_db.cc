#include "registry/rocks_db.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/base/attributes.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "rocksdb/cache.h"
#include "rocksdb/db.h"
#include "rocksdb/env.h"
#include "rocksdb/filter_policy.h"
#include "rocksdb/options.h"
#include "rocksdb/status.h"
#include "rocksdb/table.h"

#include "base/log.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "registry/commit_witness.h"
#include "registry/index_seal.h"
#include "registry/open_check.h"
#include "registry/rocks_status.h"

namespace stockpot {
namespace {

// RocksDB's own log file aborts the process when the disk is full: its lines go
// to our sink instead.
class SinkLogger : public rocksdb::Logger {
 public:
  explicit SinkLogger(RocksDb::LogSink sink)
      : rocksdb::Logger(rocksdb::InfoLogLevel::WARN_LEVEL),
        sink_(std::move(sink)) {}

  using rocksdb::Logger::Logv;
  void Logv(const char* format, va_list arguments) override {
    Logv(rocksdb::InfoLogLevel::WARN_LEVEL, format, arguments);
  }
  void Logv(const rocksdb::InfoLogLevel level, const char* format,
            va_list arguments) override {
    if (level < GetInfoLogLevel()) {
      return;
    }
    char line[512];
    std::vsnprintf(line, sizeof(line), format, arguments);
    absl::string_view text(line);
    while (absl::ConsumeSuffix(&text, "\n")) {
    }
    sink_(level >= rocksdb::InfoLogLevel::ERROR_LEVEL ? Severity::kError
                                                      : Severity::kWarning,
          absl::StrCat("rocksdb: ", text));
  }
  // The dump of all options at each open.
  void LogHeader(const char* /*format*/, va_list /*arguments*/) override {}

 private:
  const RocksDb::LogSink sink_;
};

rocksdb::Options MakeRocksOptions(const RocksDb::Options& options) {
  rocksdb::Options o;
  o.create_if_missing = true;
  o.info_log = std::make_shared<SinkLogger>(options.log);
  // The default mode drops acknowledged writes after one flipped bit; this one
  // refuses to open, and still accepts a torn last record.
  o.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  o.paranoid_checks = true;
  o.recycle_log_file_num = 0;
  // Recovery writes what it finds into synced files. So what a killed process
  // wrote but did not sync is durable before we may call it stored already.
  o.avoid_flush_during_recovery = false;
  // RocksDB's own way out of a full disk gets stuck; Reopen() is ours.
  o.max_bgerror_resume_count = 0;
  o.enable_blob_files = true;
  o.min_blob_size = uint64_t{64} << 10;
  o.blob_file_size = uint64_t{256} << 20;
  o.enable_blob_garbage_collection = true;
  o.compression = rocksdb::kNoCompression;  // Weights do not compress.
  o.write_buffer_size = options.write_buffer_bytes;
  o.max_write_buffer_number = 2;
  o.max_total_wal_size = 4 * options.write_buffer_bytes;
  o.max_manifest_file_size = uint64_t{16} << 20;
  o.max_open_files = 256;
  o.bytes_per_sync = uint64_t{1} << 20;
  o.wal_bytes_per_sync = uint64_t{1} << 20;
  o.stats_dump_period_sec = 0;
  o.stats_persist_period_sec = 0;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(options.block_cache_bytes);
  table.cache_index_and_filter_blocks = true;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  o.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return o;
}

absl::Status SyncFolder(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = fd >= 0 && fsync(fd) == 0;
  const int error = errno;
  if (fd >= 0) {
    close(fd);
  }
  return synced ? absl::OkStatus()
                : absl::UnavailableError(absl::StrCat(
                      "the folder ", path,
                      " cannot be synced: ", std::strerror(error)));
}

// Makes the folder, and those above it, so that a power failure does not take
// them away with all that was acknowledged: a name is durable once the folder
// that holds it is synced (fsync(2)).
absl::Status MakeFolder(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::vector<fs::path> parents;
  for (fs::path folder = fs::absolute(path, error).lexically_normal();
       folder.has_relative_path() && !fs::exists(folder, error);
       folder = folder.parent_path()) {
    parents.push_back(folder.parent_path());
  }
  fs::create_directories(path, error);
  if (error) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the registry's folder ", path, " cannot be made: ", error.message()));
  }
  for (const fs::path& parent : parents) {
    RETURN_IF_ERROR(SyncFolder(parent.string()));
  }
  return absl::OkStatus();
}

// A function of its own, so that ThreadSanitizer's stacks show RocksDb::Write:
// RocksDB hands batches from thread to thread in ways that it cannot see, and
// tests/tsan.supp names that frame.
ABSL_ATTRIBUTE_NOINLINE rocksdb::Status WriteBatch(rocksdb::DB& db,
                                                   rocksdb::WriteBatch* batch,
                                                   bool sync) {
  rocksdb::WriteOptions options;
  options.sync = sync;
  options.protection_bytes_per_key = 8;
  return db.Write(options, batch);
}

}  // namespace

RocksDb::RocksDb(Options options, OnOpen on_open)
    : options_(std::move(options)),
      on_open_(std::move(on_open)),
      rocks_options_(MakeRocksOptions(options_)),
      witness_(absl::StrCat(options_.path, "/", CommitWitness::kFileName)) {}

RocksDb::~RocksDb() = default;

absl::StatusOr<std::unique_ptr<RocksDb>> RocksDb::Open(Options options,
                                                       OnOpen on_open) {
  std::unique_ptr<RocksDb> db(
      new RocksDb(std::move(options), std::move(on_open)));
  RETURN_IF_ERROR(MakeFolder(db->options_.path));
  RETURN_IF_ERROR(db->OpenDatabase());
  return db;
}

absl::Status RocksDb::OpenDatabase() {
  rocksdb::Options rocks_options = rocks_options_;
  {
    MutexLock lock(&seal_mu_);
    seal_.reset();
    RETURN_IF_ERROR(
        CheckBeforeOpen(options_.path, witness_, options_.log, &rocks_options));
  }
  rocksdb::DB* raw = nullptr;
  bool writable = true;
  rocksdb::Status status =
      rocksdb::DB::Open(rocks_options, options_.path, &raw);
  if (status.IsNoSpace() && !rocks_options.create_if_missing) {
    options_.log(Severity::kError,
                 absl::StrCat("the disk is too full to open the registry for "
                              "writing; trying read-only: ",
                              status.ToString()));
    writable = false;
    status = rocksdb::DB::OpenForReadOnly(rocks_options, options_.path, &raw);
  }
  if (!status.ok()) {
    const absl::Status converted = Convert(status, "open its database");
    return absl::Status(
        converted.code(),
        absl::StrCat(converted.message(), " [", status.ToString(), "]"));
  }
  std::unique_ptr<rocksdb::DB> db(raw);
  {
    MutexLock lock(&mu_);
    writable_ = writable;
    failed_ = !writable;
  }
  if (writable) {
    // Before anything is written: what a power failure leaves of unsynced
    // writes can only be told from a loss with the witness at hand.
    MutexLock lock(&seal_mu_);
    ASSIGN_OR_RETURN(const std::optional<IndexSeal> seal, ReadSeal(*db));
    KeepWitness(seal.value_or(IndexSeal{}));
  }
  RETURN_IF_ERROR(on_open_(*this, *db));
  RETURN_IF_ERROR(LoadSeal(*db));
  MutexLock lock(&mu_);
  db_ = std::move(db);
  ++epoch_;
  return absl::OkStatus();
}

absl::StatusOr<RocksDb::Use> RocksDb::Acquire() {
  MutexLock lock(&mu_);
  while (reopening_) {
    changed_.Wait(&mu_);
  }
  if (db_ == nullptr) {
    return absl::UnavailableError(
        "the registry's disk failed; an operator must look at it");
  }
  ++num_users_;
  return Use(this, db_.get(), epoch_);
}

void RocksDb::Release() {
  MutexLock lock(&mu_);
  if (--num_users_ == 0 && reopening_) {
    changed_.SignalAll();
  }
}

absl::Status RocksDb::Write(rocksdb::DB& db, rocksdb::WriteBatch* batch,
                            bool sync, absl::string_view action) {
  if (!sync) {
    return Apply(db, batch, sync, action);
  }
  MutexLock lock(&seal_mu_);
  // Nothing is sealed yet when a new database gets its format.
  return seal_.has_value() ? WriteSealed(db, batch, action)
                           : Apply(db, batch, sync, action);
}

absl::Status RocksDb::WriteSealed(rocksdb::DB& db, rocksdb::WriteBatch* batch,
                                  absl::string_view action) {
  ASSIGN_OR_RETURN(const IndexSeal seal, SealBatch(db, *seal_, batch));
  RETURN_IF_ERROR(Apply(db, batch, /*sync=*/true, action));
  seal_ = seal;
  if (const absl::Status status = witness_.Write(seal.num_commits);
      !status.ok()) {
    options_.log(Severity::kWarning, status.message());
  }
  return absl::OkStatus();
}

absl::Status RocksDb::LoadSeal(rocksdb::DB& db) {
  MutexLock lock(&seal_mu_);
  ASSIGN_OR_RETURN(seal_, ReadSeal(db));
  if (!writable()) {
    return absl::OkStatus();
  }
  if (!seal_.has_value() || !seal_->IsCurrent()) {
    // New, or written by a build that seals less, or other kinds of key.
    const uint64_t num_commits = seal_.has_value() ? seal_->num_commits : 0;
    ASSIGN_OR_RETURN(seal_, ComputeSeal(db));
    seal_->num_commits = num_commits;
    rocksdb::WriteBatch batch;
    RETURN_IF_ERROR(WriteSealed(db, &batch, "seal its index"));
  }
  KeepWitness(*seal_);
  return absl::OkStatus();
}

void RocksDb::KeepWitness(const IndexSeal& seal) {
  absl::Status status = witness_.Write(seal.num_commits);
  status.Update(witness_.Sync());
  if (!status.ok()) {
    options_.log(Severity::kWarning, status.message());
  }
}

absl::Status RocksDb::Apply(rocksdb::DB& db, rocksdb::WriteBatch* batch,
                            bool sync, absl::string_view action) {
  return Change([&] { return WriteBatch(db, batch, sync); }, action);
}

absl::Status RocksDb::SyncLog(rocksdb::DB& db, absl::string_view action) {
  return Change([&] { return db.SyncWAL(); }, action);
}

absl::Status RocksDb::Change(absl::FunctionRef<rocksdb::Status()> change,
                             absl::string_view action) {
  {
    MutexLock lock(&mu_);
    if (failed_) {
      return absl::UnavailableError(absl::StrCat(
          "the registry could not ", action,
          ": an earlier write failed and it is not yet open again; try again"));
    }
  }
  const rocksdb::Status status = change();
  if (!status.ok()) {
    MutexLock lock(&mu_);
    failed_ = true;
  }
  return Convert(status, action);
}

bool RocksDb::needs_reopen() const {
  MutexLock lock(&mu_);
  return failed_;
}

bool RocksDb::writable() const {
  MutexLock lock(&mu_);
  return writable_;
}

absl::Status RocksDb::Reopen() {
  constexpr int64_t kLeastPauseNs = 1'000'000'000;
  std::unique_ptr<rocksdb::DB> old;
  {
    MutexLock lock(&mu_);
    while (reopening_) {
      changed_.Wait(&mu_);
    }
    if (!failed_) {
      return absl::OkStatus();
    }
    const int64_t now = absl::GetCurrentTimeNanos();
    if (now >= last_attempt_ns_ && now - last_attempt_ns_ < kLeastPauseNs) {
      return absl::UnavailableError(
          "the registry takes no writes since its disk failed or filled up; "
          "try again in a second");
    }
    last_attempt_ns_ = now;
    reopening_ = true;
    while (num_users_ > 0) {
      changed_.Wait(&mu_);
    }
    old = std::move(db_);
  }
  options_.log(Severity::kWarning, "opening the registry's database again");
  old.reset();
  absl::Status status = OpenDatabase();
  MutexLock lock(&mu_);
  reopening_ = false;
  failed_ = failed_ || !status.ok();
  changed_.SignalAll();
  if (!status.ok()) {
    // The message may name paths; the log has it.
    return absl::UnavailableError(
        "the registry's disk failed; an operator must look at it");
  }
  if (failed_) {
    return absl::ResourceExhaustedError(
        "the registry's disk is full; free some space on it");
  }
  return status;
}

uint64_t RocksDb::FreeDiskBytes() const {
  struct statvfs stats = {};
  if (statvfs(options_.path.c_str(), &stats) != 0) {
    return 0;
  }
  return uint64_t{stats.f_bavail} * stats.f_frsize;
}

absl::Status RocksDb::Convert(const rocksdb::Status& status,
                              absl::string_view action) {
  if (!status.ok()) {
    options_.log(Severity::kError,
                 absl::StrCat("could not ", action, ": ", status.ToString()));
  }
  return FromRocks(status, action);
}

}  // namespace stockpot
