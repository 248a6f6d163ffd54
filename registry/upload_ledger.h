// An UploadLedger counts what is stored and what uploads under way will store,
// and decides whether another one may begin. Thread-safe; never blocks on the
// disk.

#ifndef STOCKPOT_REGISTRY_UPLOAD_LEDGER_H_
#define STOCKPOT_REGISTRY_UPLOAD_LEDGER_H_

#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "base/mutex.h"

namespace stockpot {

struct StoreTotals {
  int64_t num_adapters = 0;  // Pairs of name and version.
  int64_t num_names = 0;
  int64_t num_deleted = 0;  // May come back.
  int64_t num_recipes = 0;  // Pairs of name and version.
  int64_t bytes = 0;        // Of all blobs.
};

class UploadLedger {
 public:
  struct Limits {
    uint64_t max_bytes = 0;  // 0: none.
    uint64_t reserve_bytes = 0;
    uint32_t max_uploads = 0;
  };

  explicit UploadLedger(const Limits& limits) : limits_(limits) {}

  // Admits an upload of `size_bytes` and returns its id, above all ids before.
  // Every admitted upload is given back by Finish().
  // Errors: ResourceExhausted (uploads at once, quota, disk).
  absl::StatusOr<uint64_t> Admit(uint64_t size_bytes, uint64_t free_disk_bytes)
      ABSL_LOCKS_EXCLUDED(mu_);
  void Finish(uint64_t size_bytes) ABSL_LOCKS_EXCLUDED(mu_);

  // Sets what an audit counted; ids continue above `last_upload_id`.
  void Reset(const StoreTotals& totals, uint64_t last_upload_id)
      ABSL_LOCKS_EXCLUDED(mu_);

  // Adds `change`, whose numbers may be negative.
  void Add(const StoreTotals& change) ABSL_LOCKS_EXCLUDED(mu_);

  StoreTotals totals() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  const Limits limits_;

  mutable Mutex mu_;
  StoreTotals totals_ ABSL_GUARDED_BY(mu_);
  uint64_t last_upload_id_ ABSL_GUARDED_BY(mu_) = 0;
  uint32_t num_uploads_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t upload_bytes_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_UPLOAD_LEDGER_H_
