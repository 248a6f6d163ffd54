// A RocksDb owns the open database and can close and open it again under its
// users, which is the only cure that worked for a database whose disk failed or
// filled up.
//
// Thread-safe. Users hold a Use for the time of one operation and never take a
// second one on the same thread: Reopen() waits until all are given back.

#ifndef STOCKPOT_REGISTRY_ROCKS_DB_H_
#define STOCKPOT_REGISTRY_ROCKS_DB_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "rocksdb/db.h"
#include "rocksdb/options.h"
#include "rocksdb/status.h"
#include "rocksdb/write_batch.h"

#include "base/log.h"
#include "base/mutex.h"
#include "registry/commit_witness.h"
#include "registry/index_seal.h"

namespace stockpot {

class RocksDb {
 public:
  using LogSink = std::function<void(Severity, absl::string_view)>;
  // Runs on a freshly opened database that nobody else uses yet.
  using OnOpen = std::function<absl::Status(RocksDb&, rocksdb::DB&)>;

  struct Options {
    std::string path;
    size_t write_buffer_bytes = 0;
    size_t block_cache_bytes = 0;
    LogSink log;  // REQUIRES: set.
  };

  // Keeps the database open while it lives.
  class Use {
   public:
    Use(RocksDb* owner, rocksdb::DB* db, uint64_t epoch)
        : owner_(owner), db_(db), epoch_(epoch) {}
    Use(Use&& other) noexcept
        : owner_(std::exchange(other.owner_, nullptr)),
          db_(other.db_),
          epoch_(other.epoch_) {}
    Use& operator=(Use&&) = delete;
    ~Use() {
      if (owner_ != nullptr) {
        owner_->Release();
      }
    }
    rocksdb::DB& operator*() const { return *db_; }
    rocksdb::DB* operator->() const { return db_; }
    // Grows with each Reopen(); unsynced writes of an older one may be lost.
    uint64_t epoch() const { return epoch_; }

   private:
    RocksDb* owner_;
    rocksdb::DB* db_;
    uint64_t epoch_;
  };

  // Opens or makes the database, then runs `on_open`, also after each Reopen().
  // If the disk is too full to open it for writing, it opens read-only.
  // Errors: as FromRocks(), but the message may name paths; FailedPrecondition
  // (the folder cannot be made); those of `on_open`.
  static absl::StatusOr<std::unique_ptr<RocksDb>> Open(Options options,
                                                       OnOpen on_open);
  ~RocksDb();

  // Blocks while the database is being opened again.
  // Errors: Unavailable, if that failed.
  absl::StatusOr<Use> Acquire() ABSL_LOCKS_EXCLUDED(mu_);

  // Applies `batch` at once; durable on return if `sync`, which every change of
  // sealed keys (index_seal.h) needs. After the first failure the database
  // takes no writes until Reopen(). Errors: as FromRocks(); with `sync`,
  // whether it was applied is unknown.
  absl::Status Write(rocksdb::DB& db, rocksdb::WriteBatch* batch, bool sync,
                     absl::string_view action)
      ABSL_LOCKS_EXCLUDED(mu_, seal_mu_);

  // Makes all that was written to `db` before durable. A write that refers to
  // unsynced ones needs it first: they may be in an older log, and RocksDB
  // replays a log although the end of the one before it is lost. Errors: as
  // Write().
  absl::Status SyncLog(rocksdb::DB& db, absl::string_view action)
      ABSL_LOCKS_EXCLUDED(mu_);

  // True once a write failed or the disk was too full to open for writing.
  bool needs_reopen() const ABSL_LOCKS_EXCLUDED(mu_);

  // If needs_reopen(), closes the database and opens it again. At most one
  // attempt in a second; between them Unavailable. REQUIRES: the calling thread
  // holds no Use. Errors: as Open().
  absl::Status Reopen() ABSL_LOCKS_EXCLUDED(mu_);

  // Bytes on the file system that are free for us; 0 if it cannot tell.
  uint64_t FreeDiskBytes() const;

  // Converts by FromRocks() and logs RocksDB's own text.
  absl::Status Convert(const rocksdb::Status& status, absl::string_view action);

  // False: only reads work on what is open now. For `on_open`.
  bool writable() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  RocksDb(Options options, OnOpen on_open);

  absl::Status OpenDatabase() ABSL_LOCKS_EXCLUDED(mu_, seal_mu_);
  // Learns the seal of a freshly opened `db`; makes it if there is none, or one
  // of a build that seals other keys.
  absl::Status LoadSeal(rocksdb::DB& db) ABSL_LOCKS_EXCLUDED(mu_, seal_mu_);
  // A witness that cannot be written is logged, and missed only at the next
  // damage.
  void KeepWitness(const IndexSeal& seal)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(seal_mu_);
  absl::Status WriteSealed(rocksdb::DB& db, rocksdb::WriteBatch* batch,
                           absl::string_view action)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(seal_mu_) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status Apply(rocksdb::DB& db, rocksdb::WriteBatch* batch, bool sync,
                     absl::string_view action) ABSL_LOCKS_EXCLUDED(mu_);
  // Runs a change of the database's, unless an earlier one failed.
  absl::Status Change(absl::FunctionRef<rocksdb::Status()> change,
                      absl::string_view action) ABSL_LOCKS_EXCLUDED(mu_);
  void Release() ABSL_LOCKS_EXCLUDED(mu_);

  const Options options_;
  const OnOpen on_open_;
  const rocksdb::Options rocks_options_;

  // Held during synced writes, taken before `mu_`.
  Mutex seal_mu_;
  std::optional<IndexSeal> seal_ ABSL_GUARDED_BY(seal_mu_);
  CommitWitness witness_ ABSL_GUARDED_BY(seal_mu_);

  mutable Mutex mu_;
  CondVar changed_;
  std::unique_ptr<rocksdb::DB> db_ ABSL_GUARDED_BY(mu_);
  int num_users_ ABSL_GUARDED_BY(mu_) = 0;
  bool reopening_ ABSL_GUARDED_BY(mu_) = false;
  bool failed_ ABSL_GUARDED_BY(mu_) = false;
  bool writable_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t epoch_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t last_attempt_ns_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_ROCKS_DB_H_
