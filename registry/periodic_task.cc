#include "registry/periodic_task.h"

#include <algorithm>
#include <functional>
#include <thread>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "base/mutex.h"

namespace stockpot {

void PeriodicTask::Start(absl::Duration period, std::function<void()> task) {
  thread_ = std::thread([this, period, task = std::move(task)] {
    while (Pause(period)) {
      task();
    }
  });
}

void PeriodicTask::Stop() {
  {
    MutexLock lock(&mu_);
    stopped_ = true;
    changed_.SignalAll();
  }
  if (thread_.joinable()) {
    thread_.join();
  }
}

bool PeriodicTask::Pause(absl::Duration pause) {
  const absl::Time end = absl::Now() + pause;
  MutexLock lock(&mu_);
  while (!stopped_) {
    // In pieces: a clock that is set back must not make it wait for long.
    const absl::Duration left = std::min(end - absl::Now(), pause);
    if (left <= absl::ZeroDuration()) {
      return true;
    }
    changed_.WaitFor(&mu_, left);
  }
  return false;
}

}  // namespace stockpot
