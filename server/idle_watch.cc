#include "server/idle_watch.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"

namespace stockpot {

void IdleWatch::Guard::Touch() {
  MutexLock lock(&mu_);
  last_ = absl::Now();
}

void IdleWatch::Guard::Stop() {
  MutexLock lock(&mu_);
  cancel_ = nullptr;
}

IdleWatch::IdleWatch(absl::Duration timeout)
    : timeout_(timeout), thread_([this] { Loop(); }) {}

IdleWatch::~IdleWatch() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    changed_.SignalAll();
  }
  thread_.join();
}

std::shared_ptr<IdleWatch::Guard> IdleWatch::Add(std::function<void()> cancel) {
  auto guard = std::make_shared<Guard>();
  {
    MutexLock lock(&guard->mu_);
    guard->last_ = absl::Now();
    guard->cancel_ = std::move(cancel);
  }
  MutexLock lock(&mu_);
  guards_.push_back(guard);
  return guard;
}

void IdleWatch::Loop() {
  while (true) {
    std::vector<std::shared_ptr<Guard>> live;
    {
      MutexLock lock(&mu_);
      if (!stopping_) {
        changed_.WaitFor(&mu_, timeout_ / 4);
      }
      if (stopping_) {
        return;
      }
      std::vector<std::weak_ptr<Guard>> kept;
      for (const std::weak_ptr<Guard>& weak : guards_) {
        if (std::shared_ptr<Guard> guard = weak.lock()) {
          live.push_back(std::move(guard));
          kept.push_back(weak);
        }
      }
      guards_ = std::move(kept);
    }
    const absl::Time limit = absl::Now() - timeout_;
    for (const std::shared_ptr<Guard>& guard : live) {
      MutexLock lock(&guard->mu_);
      if (guard->cancel_ != nullptr && guard->last_ < limit) {
        guard->cancel_();
        guard->cancel_ = nullptr;
      }
    }
  }
}

}  // namespace stockpot
