// A PeriodicTask runs a function on a thread of its own, again and again.
// Thread-safe.

#ifndef STOCKPOT_REGISTRY_PERIODIC_TASK_H_
#define STOCKPOT_REGISTRY_PERIODIC_TASK_H_

#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

#include "base/mutex.h"

namespace stockpot {

class PeriodicTask {
 public:
  PeriodicTask() = default;
  ~PeriodicTask() { Stop(); }

  // Runs `task` after each `period`, beginning with the first.
  // REQUIRES: called once; period > 0.
  void Start(absl::Duration period, std::function<void()> task);

  // Waits for the run under way, then ends the thread.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

  // Waits for `pause`, or less if stopped. True unless stopped. For a task that
  // paces itself.
  bool Pause(absl::Duration pause) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  Mutex mu_;
  CondVar changed_;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_PERIODIC_TASK_H_
