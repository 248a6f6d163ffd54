#include "server/idle_watch.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace stockpot {

void IdleWatch::Guard::Wait() {
  MutexLock lock(&mu_);
  since_ = absl::Now();
  is_waiting_ = true;
}

bool IdleWatch::Guard::Heard(size_t num_bytes) {
  MutexLock lock(&mu_);
  is_waiting_ = false;
  waited_ += absl::Now() - since_;
  num_bytes_ += num_bytes;
  return cut_ != nullptr;
}

void IdleWatch::Guard::Stop() {
  MutexLock lock(&mu_);
  cut_ = nullptr;
  while (cutter_ != std::thread::id() &&
         cutter_ != std::this_thread::get_id()) {
    cut_ended_.Wait(&mu_);
  }
}

void IdleWatch::Guard::Check(absl::Time now, absl::Duration timeout,
                             const PaceRule& pace) {
  absl::Status verdict;
  Cut cut;
  {
    MutexLock lock(&mu_);
    verdict = Judge(now, timeout, pace);
    if (verdict.ok()) {
      return;
    }
    cut = std::exchange(cut_, nullptr);
    cutter_ = std::this_thread::get_id();
  }
  // Without the lock: whoever is told may stop the guard.
  cut(verdict);
  MutexLock lock(&mu_);
  cutter_ = std::thread::id();
  cut_ended_.SignalAll();
}

absl::Status IdleWatch::Guard::Judge(absl::Time now, absl::Duration timeout,
                                     const PaceRule& pace) {
  if (!is_waiting_ || cut_ == nullptr) {
    return absl::OkStatus();
  }
  if (now - since_ > timeout) {
    return absl::DeadlineExceededError(
        absl::StrCat("nothing came for ", absl::FormatDuration(timeout),
                     ", the longest that this server waits "
                     "(--upload_idle_timeout)"));
  }
  const absl::Duration waited = waited_ + (now - since_);
  if (pace.min_bytes_per_second == 0 || waited < pace.window) {
    return absl::OkStatus();
  }
  if (static_cast<double>(num_bytes_) <
      static_cast<double>(pace.min_bytes_per_second) *
          absl::ToDoubleSeconds(waited)) {
    return absl::DeadlineExceededError(absl::StrCat(
        num_bytes_, " bytes came in ",
        absl::FormatDuration(absl::Trunc(waited, absl::Milliseconds(1))),
        "; this server wants at least ", pace.min_bytes_per_second,
        " in each second (--upload_min_bytes_per_second)"));
  }
  // The next window begins here, in the middle of this turn.
  waited_ = since_ - now;
  num_bytes_ = 0;
  return absl::OkStatus();
}

IdleWatch::IdleWatch(absl::Duration timeout, PaceRule pace)
    : timeout_(timeout), pace_(pace), thread_([this] { Loop(); }) {}

IdleWatch::~IdleWatch() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    changed_.SignalAll();
  }
  thread_.join();
}

std::shared_ptr<IdleWatch::Guard> IdleWatch::Add(Cut cut) {
  auto guard = std::make_shared<Guard>();
  {
    MutexLock lock(&guard->mu_);
    guard->since_ = absl::Now();
    guard->cut_ = std::move(cut);
  }
  MutexLock lock(&mu_);
  guards_.push_back(guard);
  return guard;
}

void IdleWatch::Loop() {
  const absl::Duration period =
      (pace_.min_bytes_per_second == 0 ? timeout_
                                       : std::min(timeout_, pace_.window)) /
      4;
  while (true) {
    std::vector<std::shared_ptr<Guard>> live;
    {
      MutexLock lock(&mu_);
      if (!stopping_) {
        changed_.WaitFor(&mu_, period);
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
    for (const std::shared_ptr<Guard>& guard : live) {
      guard->Check(absl::Now(), timeout_, pace_);
    }
  }
}

}  // namespace stockpot
