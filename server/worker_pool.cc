#include "server/worker_pool.h"

#include <utility>

namespace stockpot {

WorkerPool::WorkerPool(int num_threads, size_t max_queued)
    : max_queued_(max_queued) {
  for (int i = 0; i < num_threads; ++i) {
    threads_.emplace_back([this] { Loop(); });
  }
}

WorkerPool::~WorkerPool() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    changed_.SignalAll();
  }
  for (std::thread& thread : threads_) {
    thread.join();
  }
}

bool WorkerPool::Run(std::function<void()> work) {
  MutexLock lock(&mu_);
  if (queue_.size() >= max_queued_) {
    return false;
  }
  queue_.push_back(std::move(work));
  changed_.SignalAll();
  return true;
}

void WorkerPool::Loop() {
  while (true) {
    std::function<void()> work;
    {
      MutexLock lock(&mu_);
      while (queue_.empty() && !stopping_) {
        changed_.Wait(&mu_);
      }
      if (queue_.empty()) {
        return;
      }
      work = std::move(queue_.front());
      queue_.pop_front();
    }
    work();
  }
}

}  // namespace stockpot
