// A Scrubber reads all that is stored and compares it with its hashes, so that
// bytes which rotted are known before somebody needs them. RocksDB's own check
// does not look at blob files (7.8).
//
// Policy: one pass at a time, on a thread that does nothing else and that
// nobody waits for: it reads a chunk, then pauses as long as the rate asks. A
// pass in the background begins at a random blob, so that restarts do not leave
// the same ones unread. A pass that somebody asks for ends the one in the
// background. A damaged blob is quarantined, as when a reader meets it, and let
// out when a later pass reads it well; one that is deleted meanwhile is let go.
// Thread-safe.

#ifndef STOCKPOT_REGISTRY_SCRUBBER_H_
#define STOCKPOT_REGISTRY_SCRUBBER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "base/digest.h"
#include "base/mutex.h"

namespace stockpot {

struct StoreContext;

// No pass in the background is slower.
inline constexpr uint64_t kLeastScrubRate = uint64_t{1} << 20;

// Bytes per second that read `stored_bytes` within nine tenths of `period`, at
// least kLeastScrubRate. REQUIRES: period > 0.
uint64_t ScrubRate(uint64_t stored_bytes, absl::Duration period);

struct ScrubProgress {
  uint64_t num_checked = 0;  // Blobs, of num_blobs.
  uint64_t num_blobs = 0;
  uint64_t bytes_checked = 0;
  // "name@version", or "sha256:..." of what only deleted adapters hold; at most
  // kMaxNames.
  static constexpr size_t kMaxNames = 1000;
  std::vector<std::string> damaged;
};

// Hears of one pass. Called from the scrubber's thread, which waits for it.
class ScrubWatcher {
 public:
  virtual ~ScrubWatcher() = default;
  // After each chunk and each blob.
  virtual void OnProgress(const ScrubProgress& progress) = 0;
  // Called once, and last. OK: all was read, whether damaged or not. Cancelled;
  // DataLoss (the index itself is damaged); Unavailable (something could not be
  // read, or the store closes).
  virtual void OnEnd(const absl::Status& status,
                     const ScrubProgress& progress) = 0;
};

class Scrubber {
 public:
  // `context` must outlive the scrubber.
  explicit Scrubber(StoreContext* context) : context_(context) {}
  ~Scrubber() { Stop(); }

  // Starts the thread, which makes a pass in each `period`, beginning now; 0:
  // only those that are asked for. REQUIRES: called once, on an open database.
  void Start(absl::Duration period);

  // Waits for the chunk that is being read, ends the pass and the thread.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

  // Has everything checked now, at most `bytes_per_second` fast; 0: as fast as
  // the disk is. Returns what Cancel() wants at once; `watcher` must live until
  // its OnEnd(), which may come before this returns.
  // Errors: FailedPrecondition (such a pass runs); Unavailable (stopped).
  absl::StatusOr<uint64_t> Verify(uint64_t bytes_per_second,
                                  ScrubWatcher* watcher)
      ABSL_LOCKS_EXCLUDED(mu_);

  // Ends that pass soon, unless it has ended.
  void Cancel(uint64_t id) ABSL_LOCKS_EXCLUDED(mu_);

  struct Stats {
    std::optional<absl::Time> last_end;  // Of a pass that read everything.
    uint64_t bytes_checked = 0;          // By all passes together.
  };
  Stats stats() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Job {
    uint64_t id = 0;  // 0: in the background.
    uint64_t bytes_per_second = 0;
    ScrubWatcher* watcher = nullptr;
    bool canceled = false;
  };

  void Loop();
  // Waits for the next pass to make; false once stopped.
  bool Next(Job* job) ABSL_LOCKS_EXCLUDED(mu_);
  void Done(const Job& job, absl::Time start, const absl::Status& status)
      ABSL_LOCKS_EXCLUDED(mu_);
  // False if the pass shall end. Otherwise waits for `pause`, or less if so.
  bool Pause(absl::Duration pause) ABSL_LOCKS_EXCLUDED(mu_);
  // How long reading `num_bytes` must take.
  absl::Duration TimeFor(const Job& job, size_t num_bytes) const;

  absl::Status RunPass(const Job& job, ScrubProgress* progress);
  absl::Status CheckTables();
  // In the order in which they are checked.
  absl::StatusOr<std::vector<Digest>> ListBlobs(const Job& job);
  // OK for a damaged one too.
  absl::Status CheckBlob(const Job& job, const Digest& digest,
                         ScrubProgress* progress);
  absl::Status ReadBlob(const Job& job, const Digest& digest,
                        ScrubProgress* progress);
  void AddDamaged(const Digest& digest, ScrubProgress* progress);

  StoreContext* const context_;
  absl::Duration period_;  // Set before the thread starts.

  mutable Mutex mu_;
  CondVar changed_;
  bool stopped_ ABSL_GUARDED_BY(mu_) = true;
  std::optional<Job> asked_ ABSL_GUARDED_BY(mu_);    // Waits to be made.
  std::optional<Job> running_ ABSL_GUARDED_BY(mu_);  // Is being made.
  uint64_t last_id_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Time next_pass_ ABSL_GUARDED_BY(mu_);  // In the background.
  Stats stats_ ABSL_GUARDED_BY(mu_);
  std::thread thread_;
};

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_SCRUBBER_H_
