// An IdleWatch cancels calls whose client has gone silent. Thread-safe.

#ifndef STOCKPOT_SERVER_IDLE_WATCH_H_
#define STOCKPOT_SERVER_IDLE_WATCH_H_

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/time/time.h"

#include "base/mutex.h"

namespace stockpot {

class IdleWatch {
 public:
  // One watched call. Stop() before what `cancel` refers to dies.
  class Guard {
   public:
    // The client said something, or we are busy with what it said.
    void Touch() ABSL_LOCKS_EXCLUDED(mu_);
    // Never cancels again. Waits for a cancel that is under way.
    void Stop() ABSL_LOCKS_EXCLUDED(mu_);

   private:
    friend class IdleWatch;
    Mutex mu_;
    absl::Time last_ ABSL_GUARDED_BY(mu_);
    std::function<void()> cancel_ ABSL_GUARDED_BY(mu_);
  };

  explicit IdleWatch(absl::Duration timeout);
  ~IdleWatch();

  // Calls `cancel` once if the guard is not touched for the timeout.
  std::shared_ptr<Guard> Add(std::function<void()> cancel);

 private:
  void Loop();

  const absl::Duration timeout_;
  Mutex mu_;
  CondVar changed_;
  std::vector<std::weak_ptr<Guard>> guards_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_IDLE_WATCH_H_
