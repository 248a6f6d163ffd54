// A WorkerPool runs blocking work for calls whose reactions must not block.
// Thread-safe.

#ifndef STOCKPOT_SERVER_WORKER_POOL_H_
#define STOCKPOT_SERVER_WORKER_POOL_H_

#include <cstddef>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace stockpot {

class WorkerPool {
 public:
  explicit WorkerPool(int num_threads, size_t max_queued = 1024);
  // Runs what is queued, then joins.
  ~WorkerPool();

  // Queues `work`; returns false, and drops it, when max_queued wait already.
  bool Run(std::function<void()> work);

 private:
  void Loop();

  const size_t max_queued_;
  Mutex mu_;
  CondVar changed_;
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_WORKER_POOL_H_
