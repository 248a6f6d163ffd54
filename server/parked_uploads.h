// ParkedUploads keeps uploads whose call broke off, so that a later call can go
// on with them. Thread-safe; may block on storage.
//
// Policy: an upload is kept for a while after its call ended; of too many, the
// one that waits longest goes first. While it is kept it counts as an upload
// under way in every quota. Nothing survives the process.

#ifndef STOCKPOT_SERVER_PARKED_UPLOADS_H_
#define STOCKPOT_SERVER_PARKED_UPLOADS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "base/metrics.h"
#include "base/mutex.h"
#include "registry/periodic_task.h"
#include "server/upload_session.h"

namespace stockpot {

class ParkedUploads {
 public:
  struct Options {
    absl::Duration window = absl::Minutes(10);  // 0: nothing is kept.
    size_t max_parked = 16;
    // Of UploadSession::held_bytes() of all.
    uint64_t max_held_bytes = uint64_t{256} << 20;
    std::function<absl::Time()> clock = nullptr;  // Default: absl::Now.
  };

  struct Progress {
    uint64_t received_bytes = 0;
    // Until when it is kept. Not set while a call goes on with it.
    std::optional<absl::Time> expire_time;
  };

  explicit ParkedUploads(Options options);
  ~ParkedUploads() = default;

  // Whether anything is kept at all.
  bool is_on() const { return options_.window > absl::ZeroDuration(); }

  // Gives `id` to one call, with the upload kept under it, or null if none is.
  // The call gives it back with Release().
  // Errors: Aborted (another call has it).
  absl::StatusOr<std::unique_ptr<UploadSession>> Claim(const std::string& id)
      ABSL_LOCKS_EXCLUDED(mu_);

  // What the call that has `id` took so far. REQUIRES: claimed.
  void SetReceived(const std::string& id, uint64_t received_bytes)
      ABSL_LOCKS_EXCLUDED(mu_);

  // Keeps `session` under `id`; null: `id` means nothing from now on.
  // REQUIRES: is_on(); claimed; the session is intact.
  void Release(const std::string& id, std::unique_ptr<UploadSession> session)
      ABSL_LOCKS_EXCLUDED(mu_);

  // Errors: InvalidArgument (not an id); NotFound.
  absl::StatusOr<Progress> Find(const std::string& id) ABSL_LOCKS_EXCLUDED(mu_);

  // Drops those whose time has passed. Happens by itself, a little late.
  void DropExpired() ABSL_LOCKS_EXCLUDED(mu_);

  size_t num_parked() const ABSL_LOCKS_EXCLUDED(mu_);

  // Sets what `metrics` shows of those that wait.
  void SetGauges(Metrics* metrics) const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Entry {
    std::unique_ptr<UploadSession> session;  // Null while a call has it.
    uint64_t received_bytes = 0;
    uint64_t held_bytes = 0;
    absl::Time expire_time;
  };
  using Sessions = std::vector<std::unique_ptr<UploadSession>>;

  // Takes out those whose time has passed: dropping one touches the disk, so
  // the caller does it without the lock.
  Sessions TakeExpired() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Likewise those that are too many.
  void TakeSurplus(Sessions* out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;

  mutable Mutex mu_;
  absl::flat_hash_map<std::string, Entry> entries_ ABSL_GUARDED_BY(mu_);
  PeriodicTask sweeping_;  // Last: it ends before what it looks at.
};

// Accepts [a-zA-Z0-9_-]{16,64}. Errors: InvalidArgument.
absl::Status ValidateUploadId(absl::string_view id);

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_PARKED_UPLOADS_H_
