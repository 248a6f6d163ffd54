// A RegistryWatch looks at the registry once in a while: it tells when the
// registry stops taking writes, and tries to bring it back. A registry opens
// itself again at the next write, but no client writes to a service that says
// NOT_SERVING. Thread-safe.

#ifndef STOCKPOT_SERVER_REGISTRY_WATCH_H_
#define STOCKPOT_SERVER_REGISTRY_WATCH_H_

#include <cstdint>
#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

#include "base/metrics.h"
#include "base/mutex.h"
#include "registry/periodic_task.h"
#include "registry/rocks_store.h"

namespace stockpot {

class RegistryWatch {
 public:
  struct Options {
    absl::Duration period = absl::Seconds(1);
    // Opening again makes readers wait for a moment.
    absl::Duration retry_period = absl::Seconds(10);
    // With less than that there is no point in trying.
    uint64_t least_free_bytes = uint64_t{128} << 20;
  };

  // Says whether the registry takes writes: at once, and whenever that changes,
  // from any thread, one call at a time. `registry` must outlive the watch.
  RegistryWatch(RocksStore* registry, const Options& options,
                std::function<void(bool writable)> on_change);
  ~RegistryWatch() { task_.Stop(); }

  // Sets what `metrics` shows of the registry.
  void SetGauges(Metrics* metrics) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void Look();

  RocksStore* const registry_;
  const Options options_;
  const std::function<void(bool)> on_change_;
  // Of the task's thread.
  bool writable_;
  absl::Time next_try_ = absl::InfinitePast();
  Mutex mu_;
  uint64_t bytes_shown_ ABSL_GUARDED_BY(mu_) = 0;  // Of those checked.
  PeriodicTask task_;
};

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_REGISTRY_WATCH_H_
