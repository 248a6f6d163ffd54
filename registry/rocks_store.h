// RocksStore is the AdapterStore on RocksDB. docs/formats/registry.md describes
// the keys.
//
// Policy: a commit is one synced write, made once the chunks that it names are
// durable; nothing is acknowledged before it. A
// disk that failed or filled up makes the store refuse writes until there is
// space again; it then closes and opens the database by itself. Blobs whose
// stored bytes are missing or damaged are quarantined, never served, and healed
// by uploading the same content again. A background thread removes blobs that
// nothing names or pins.

#ifndef STOCKPOT_REGISTRY_ROCKS_STORE_H_
#define STOCKPOT_REGISTRY_ROCKS_STORE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "base/log.h"
#include "registry/adapter_store.h"
#include "registry/inspection_store.h"
#include "registry/namespace_quota.h"
#include "registry/recipe_store.h"
#include "registry/registry_backup.h"
#include "registry/scrubber.h"

namespace stockpot {

// Receives the store's and RocksDB's own log lines, from any thread. It may
// name server paths; clients never see them.
using StoreLogSink = std::function<void(Severity, absl::string_view)>;

struct RocksStoreOptions {
  std::string path;        // Directory; made if absent.
  uint64_t max_bytes = 0;  // Quota over all blobs; 0: none.
  NamespaceQuotas quotas;
  uint64_t max_adapter_bytes = uint64_t{8} << 30;
  // Kept free on the disk, beyond twice the size of all uploads under way.
  uint64_t reserve_bytes = uint64_t{128} << 20;
  uint32_t max_uploads = 32;                     // Under way at once.
  size_t write_buffer_bytes = size_t{16} << 20;  // Two of them.
  size_t block_cache_bytes = size_t{8} << 20;
  // How long a deleted adapter may come back; 0: not at all.
  absl::Duration undelete_window = absl::ZeroDuration();
  // In which all that is stored is read and checked once; 0: only on demand.
  absl::Duration scrub_period = absl::ZeroDuration();
  StoreLogSink log;                   // Default: Log().
  std::function<absl::Time()> clock;  // Default: absl::Now.
};

class RocksStore : public AdapterStore {
 public:
  // Opens or makes the store and audits it: uploads that never committed are
  // removed, adapters with missing chunks are quarantined.
  // Errors: FailedPrecondition (written by a newer format, or not a registry);
  // DataLoss (RocksDB found damage it must not hide); ResourceExhausted (disk
  // full); Unavailable (locked by another process, I/O error).
  static absl::StatusOr<std::unique_ptr<RocksStore>> Open(
      RocksStoreOptions options);

  // The saved recipes; lives as long as the store.
  virtual RecipeStore& recipes() = 0;

  // Checks what is stored against its hashes; lives as long as the store.
  virtual Scrubber& scrubber() = 0;

  // The registry's files as they are now. The store outlives the backup.
  // Errors: FailedPrecondition (another one lives); ResourceExhausted,
  // Unavailable (disk).
  virtual absl::StatusOr<std::unique_ptr<RegistryBackup>> BeginBackup() = 0;

  // If Stats().writable is false, opens the database again, as the next write
  // would. Errors: ResourceExhausted, Unavailable: it is as before.
  virtual absl::Status Recover() = 0;
  // What was computed of the blobs; lives as long as the store.
  virtual InspectionStore& inspections() = 0;

  // Purges the adapters whose undelete window has passed and returns how many.
  // The store does so by itself, at least once in an hour.
  // Errors: ResourceExhausted, Unavailable (disk); DataLoss.
  virtual absl::StatusOr<uint64_t> PurgeExpired() = 0;

  // Blocks until everything that nothing names or pins is deleted.
  virtual void WaitForSweep() = 0;

  // Keys of chunks on disk, of finished and unfinished uploads alike.
  virtual absl::StatusOr<uint64_t> CountChunks() = 0;

  // Moves everything from the log and memory into table and blob files.
  virtual absl::Status Flush() = 0;
};

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_ROCKS_STORE_H_
