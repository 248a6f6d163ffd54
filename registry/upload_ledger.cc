#include "registry/upload_ledger.h"

#include <algorithm>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

#include "base/mutex.h"

namespace stockpot {

absl::StatusOr<uint64_t> UploadLedger::Admit(uint64_t size_bytes,
                                             uint64_t free_disk_bytes) {
  MutexLock lock(&mu_);
  if (num_uploads_ >= limits_.max_uploads) {
    return absl::ResourceExhaustedError(
        absl::StrCat(num_uploads_,
                     " uploads are under way, the most that this "
                     "server takes at once; try again later"));
  }
  // `size_bytes` is bounded by the store's options: the sums cannot overflow.
  const uint64_t pending = upload_bytes_ + size_bytes;
  const uint64_t stored = static_cast<uint64_t>(totals_.bytes);
  if (limits_.max_bytes > 0 && stored + pending > limits_.max_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "an adapter of ", size_bytes,
        " bytes does not fit: the registry holds ", stored, " bytes and ",
        upload_bytes_, " are being uploaded, of at most ", limits_.max_bytes,
        "; delete adapters that are not needed"));
  }
  // Twice: bytes lie in the log until they have moved into blob files.
  if (free_disk_bytes < 2 * pending + limits_.reserve_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "an adapter of ", size_bytes,
        " bytes does not fit: the registry's disk has ", free_disk_bytes,
        " bytes free and ", 2 * pending + limits_.reserve_bytes,
        " are needed; delete adapters or free space"));
  }
  ++num_uploads_;
  upload_bytes_ = pending;
  return ++last_upload_id_;
}

void UploadLedger::Finish(uint64_t size_bytes) {
  MutexLock lock(&mu_);
  --num_uploads_;
  upload_bytes_ -= size_bytes;
}

void UploadLedger::Reset(const StoreTotals& totals, uint64_t last_upload_id) {
  MutexLock lock(&mu_);
  totals_ = totals;
  last_upload_id_ = std::max(last_upload_id_, last_upload_id);
}

void UploadLedger::Add(const StoreTotals& change) {
  MutexLock lock(&mu_);
  totals_.num_adapters += change.num_adapters;
  totals_.num_names += change.num_names;
  totals_.num_deleted += change.num_deleted;
  totals_.num_recipes += change.num_recipes;
  totals_.bytes += change.bytes;
}

StoreTotals UploadLedger::totals() const {
  MutexLock lock(&mu_);
  return totals_;
}

}  // namespace stockpot
