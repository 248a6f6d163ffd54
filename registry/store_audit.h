// The audit that runs whenever the database is opened: what RocksDB does not
// notice by itself (facts of 7.8: it opens happily although blob files are
// gone).

#ifndef STOCKPOT_REGISTRY_STORE_AUDIT_H_
#define STOCKPOT_REGISTRY_STORE_AUDIT_H_

#include <cstdint>
#include <functional>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "rocksdb/db.h"

#include "base/digest.h"
#include "registry/namespace_ledger.h"
#include "registry/rocks_db.h"
#include "registry/upload_ledger.h"

namespace stockpot {

// The format that this build writes, and the newest that it reads. Older ones
// are read and marked as this one when the database is opened for writing.
inline constexpr uint32_t kStoreFormat = 2;

struct AuditResult {
  StoreTotals totals;
  NamespaceUsages namespaces;
  uint64_t last_upload_id = 0;
  // Blobs that are named but not whole on disk, or marked as damaged.
  absl::flat_hash_set<Digest> damaged;
  uint64_t num_orphan_chunks = 0;  // Removed, if the database is writable.
  uint64_t num_orphan_blobs = 0;
};

// Writes the format into an empty database, else checks it and, if it is older,
// raises it: what later formats add, they add beside what there is.
// Errors: FailedPrecondition (newer format; not a registry); as
// RocksDb::Write().
absl::Status CheckFormat(RocksDb& owner, rocksdb::DB& db,
                         const RocksDb::LogSink& log);

// Checks that every manifest, deleted or not, has its blob, every blob its
// chunks with the right sizes, and every blob file its bytes; removes chunks of
// uploads that never committed and blobs that nothing names and `is_pinned`
// denies, and marks of blobs that are gone. Reads no chunk, unless a blob file
// is missing or short: then all, to learn whose they were. Memory: some 100
// bytes for each blob. REQUIRES: nobody else uses `db`. Errors: Unavailable,
// ResourceExhausted.
absl::StatusOr<AuditResult> AuditStore(
    RocksDb& owner, rocksdb::DB& db,
    const std::function<bool(const Digest&)>& is_pinned,
    const RocksDb::LogSink& log);

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_STORE_AUDIT_H_
