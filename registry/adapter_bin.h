// An AdapterBin deletes adapters, in two steps: a deleted one can be brought
// back until its window has passed, then it is purged and its bytes go.
//
// Part of a RocksStore; thread-safe. A version number stays taken for good:
// only the content that it had may come back under it.

#ifndef STOCKPOT_REGISTRY_ADAPTER_BIN_H_
#define STOCKPOT_REGISTRY_ADAPTER_BIN_H_

#include <cstdint>
#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "rocksdb/db.h"
#include "rocksdb/write_batch.h"

#include "proto/stockpot/v1/storage.pb.h"

#include "base/digest.h"
#include "registry/adapter_index.h"
#include "registry/adapter_ref.h"
#include "registry/key_codec.h"
#include "registry/store_context.h"

namespace stockpot {

class AdapterBin {
 public:
  // `context` must outlive the bin.
  explicit AdapterBin(StoreContext* context) : context_(context) {}

  // As AdapterStore::Delete(); without an undelete window, and if `purge`, the
  // adapter is purged at once. Returns which it was.
  absl::StatusOr<NameVersion> Delete(const AdapterRef& ref, bool purge)
      ABSL_LOCKS_EXCLUDED(context_->commit_mu);

  // As AdapterStore::Undelete(), without the record.
  absl::Status Undelete(const NameVersion& key)
      ABSL_LOCKS_EXCLUDED(context_->commit_mu);

  // As AdapterStore::Purge().
  absl::Status Purge(const AdapterRef& ref)
      ABSL_LOCKS_EXCLUDED(context_->commit_mu);

  // Purges what was deleted before the window began; returns how many. `stop`
  // is asked now and then. Errors: Unavailable, ResourceExhausted, DataLoss.
  absl::StatusOr<uint64_t> PurgeExpired(const std::function<bool()>& stop)
      ABSL_LOCKS_EXCLUDED(context_->commit_mu);

 private:
  using Manifest = AdapterIndex::Manifest;
  using Tombstone = AdapterIndex::Tombstone;

  // Errors: FailedPrecondition (a bare name of several versions; a digest of
  // several names; the last name of what a saved recipe uses).
  absl::Status CheckMayGo(AdapterIndex& index, rocksdb::DB& db,
                          const AdapterRef& ref, const NameVersion& key,
                          const Digest& digest);
  // Adds to `batch` what purging `key` takes, wherever it is now.
  void AddPurge(const NameVersion& key, const Manifest& manifest,
                rocksdb::WriteBatch* batch);
  // Counts `manifest` out, once it is purged, and has its blob removed.
  void Forget(const Manifest& manifest);
  // Purges those of `keys` that are among the deleted ones, in one write;
  // returns how many.
  absl::StatusOr<uint64_t> PurgeDeleted(absl::Span<const NameVersion> keys)
      ABSL_LOCKS_EXCLUDED(context_->commit_mu);

  StoreContext* const context_;
};

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_ADAPTER_BIN_H_
