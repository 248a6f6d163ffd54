// An InspectionQueue inspects stored adapters, one at a time, on a thread of
// its own, and keeps what was found with them in the registry.
//
// An upload adds its adapter once it is acknowledged, so that no upload waits
// for an inspection. What was lost with a crash, or stored by an older build,
// is inspected when somebody asks for it. Who asks waits for a while and no
// longer, without holding a thread. An adapter that cannot be inspected, or not
// within the time limit, is not tried again until the daemon restarts.
//
// Thread-safe.

#ifndef STOCKPOT_SERVER_INSPECTION_QUEUE_H_
#define STOCKPOT_SERVER_INSPECTION_QUEUE_H_

#include <cstddef>
#include <deque>
#include <functional>
#include <optional>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "proto/stockpot/v1/registry.pb.h"

#include "base/digest.h"
#include "base/mutex.h"
#include "merge/adapter_inspector.h"
#include "registry/inspection_store.h"

namespace stockpot {

class InspectionQueue {
 public:
  struct Options {
    // How long Get() waits for what is not there yet.
    absl::Duration patience = absl::Seconds(5);
    // Of one adapter. Looked at between its modules.
    absl::Duration time_limit = absl::Seconds(60);
    size_t max_queued = 1024;
  };
  using Done = std::function<void(std::optional<v1::AdapterInspection>)>;

  // Both must outlive the queue.
  InspectionQueue(AdapterInspector* inspector, InspectionStore* store,
                  const Options& options);
  ~InspectionQueue();

  // Sees to it that `digest` is inspected soon, unless the queue is full or it
  // was before.
  void Add(const Digest& digest) ABSL_LOCKS_EXCLUDED(mu_);

  // Calls `done` once, on this thread or another: with the inspection, or with
  // nothing if there is none within the patience. Reads the store.
  void Get(const Digest& digest, Done done) ABSL_LOCKS_EXCLUDED(mu_);

  // Ends all waits with nothing; from then on inspects no more.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Waiter {
    absl::Time deadline;
    Done done;
  };
  using Waiters = std::vector<Waiter>;

  void Work();
  void EndWaits();
  // Waits for the next one; false once stopped.
  bool Next(Digest* digest) ABSL_LOCKS_EXCLUDED(mu_);
  // Takes out the waiters of `digest`, which is done.
  Waiters Finish(const Digest& digest) ABSL_LOCKS_EXCLUDED(mu_);
  // Takes out the waiters whose time has come; all if stopping.
  Waiters Expired(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // True if `digest` is queued now, or was.
  bool Enqueue(const Digest& digest) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool stopping() const ABSL_LOCKS_EXCLUDED(mu_);

  std::optional<v1::AdapterInspection> FindStored(const Digest& digest);
  std::optional<v1::AdapterInspection> Inspect(const Digest& digest)
      ABSL_LOCKS_EXCLUDED(mu_);
  absl::StatusOr<std::vector<ModuleStatistics>> InspectInTime(
      const Digest& digest);

  AdapterInspector* const inspector_;
  InspectionStore* const store_;
  const Options options_;

  mutable Mutex mu_;
  CondVar changed_;
  std::deque<Digest> queue_ ABSL_GUARDED_BY(mu_);
  // Those queued and the one under way, with who waits for them.
  absl::flat_hash_map<Digest, Waiters> pending_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_set<Digest> hopeless_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread worker_;
  std::thread clock_;
};

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_INSPECTION_QUEUE_H_
