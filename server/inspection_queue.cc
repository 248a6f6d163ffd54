#include "server/inspection_queue.h"

#include <sys/resource.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "base/log.h"
#include "server/adapter_proto.h"

namespace stockpot {

namespace {

// Digests of adapters that cannot be inspected; some 40 KiB.
constexpr size_t kMaxHopeless = 1024;

// Whether another try may end otherwise.
bool MayPass(const absl::Status& status) {
  return absl::IsNotFound(status) || absl::IsDataLoss(status) ||
         absl::IsUnavailable(status) || absl::IsCancelled(status);
}

}  // namespace

InspectionQueue::InspectionQueue(AdapterInspector* inspector,
                                 InspectionStore* store, const Options& options)
    : inspector_(inspector),
      store_(store),
      options_(options),
      worker_([this] { Work(); }),
      clock_([this] { EndWaits(); }) {}

InspectionQueue::~InspectionQueue() {
  Stop();
  worker_.join();
  clock_.join();
}

void InspectionQueue::Stop() {
  MutexLock lock(&mu_);
  stopping_ = true;
  changed_.SignalAll();
}

bool InspectionQueue::stopping() const {
  MutexLock lock(&mu_);
  return stopping_;
}

bool InspectionQueue::Enqueue(const Digest& digest) {
  if (stopping_ || hopeless_.contains(digest)) {
    return false;
  }
  if (pending_.contains(digest)) {
    return true;
  }
  if (queue_.size() >= options_.max_queued) {
    return false;
  }
  pending_[digest];
  queue_.push_back(digest);
  changed_.SignalAll();
  return true;
}

void InspectionQueue::Add(const Digest& digest) {
  MutexLock lock(&mu_);
  (void)Enqueue(digest);
}

void InspectionQueue::Get(const Digest& digest, Done done) {
  std::optional<v1::AdapterInspection> stored = FindStored(digest);
  if (!stored.has_value()) {
    MutexLock lock(&mu_);
    if (Enqueue(digest)) {
      pending_[digest].push_back(
          {absl::Now() + options_.patience, std::move(done)});
      changed_.SignalAll();
      return;
    }
  }
  done(std::move(stored));
}

void InspectionQueue::Work() {
  // Sequences that run go first: what is found here nobody waits for long.
  (void)setpriority(PRIO_PROCESS, 0, 10);
  Digest digest;
  while (Next(&digest)) {
    const std::optional<v1::AdapterInspection> found = Inspect(digest);
    for (const Waiter& waiter : Finish(digest)) {
      waiter.done(found);
    }
  }
}

bool InspectionQueue::Next(Digest* digest) {
  MutexLock lock(&mu_);
  while (queue_.empty() && !stopping_) {
    changed_.Wait(&mu_);
  }
  if (stopping_) {
    return false;
  }
  *digest = queue_.front();
  queue_.pop_front();
  return true;
}

InspectionQueue::Waiters InspectionQueue::Finish(const Digest& digest) {
  MutexLock lock(&mu_);
  const auto it = pending_.find(digest);
  Waiters waiters = std::move(it->second);
  pending_.erase(it);
  return waiters;
}

InspectionQueue::Waiters InspectionQueue::Expired(absl::Time now) {
  Waiters expired;
  const bool all = stopping_;
  for (auto& [digest, waiters] : pending_) {
    const auto first = std::stable_partition(
        waiters.begin(), waiters.end(),
        [&](const Waiter& waiter) { return !all && waiter.deadline > now; });
    std::move(first, waiters.end(), std::back_inserter(expired));
    waiters.erase(first, waiters.end());
  }
  return expired;
}

void InspectionQueue::EndWaits() {
  bool stopped = false;
  while (!stopped) {
    Waiters expired;
    {
      MutexLock lock(&mu_);
      absl::Time next = absl::InfiniteFuture();
      for (const auto& [digest, waiters] : pending_) {
        for (const Waiter& waiter : waiters) {
          next = std::min(next, waiter.deadline);
        }
      }
      if (!stopping_ && next == absl::InfiniteFuture()) {
        changed_.Wait(&mu_);
      } else if (!stopping_) {
        // Waits in whole milliseconds.
        changed_.WaitFor(&mu_, next - absl::Now() + absl::Milliseconds(1));
      }
      stopped = stopping_;
      expired = Expired(absl::Now());
    }
    for (const Waiter& waiter : expired) {
      waiter.done(std::nullopt);
    }
  }
}

std::optional<v1::AdapterInspection> InspectionQueue::FindStored(
    const Digest& digest) {
  const absl::StatusOr<std::optional<std::string>> stored =
      store_->Find(digest);
  v1::AdapterInspection inspection;
  if (!stored.ok() || !stored->has_value() ||
      !inspection.ParseFromString(**stored)) {
    return std::nullopt;
  }
  return inspection;
}

absl::StatusOr<std::vector<ModuleStatistics>> InspectionQueue::InspectInTime(
    const Digest& digest) {
  const absl::Time limit = absl::Now() + options_.time_limit;
  bool is_late = false;
  absl::StatusOr<std::vector<ModuleStatistics>> found =
      inspector_->Inspect(digest, [&] {
        is_late = is_late || absl::Now() > limit;
        return is_late || stopping();
      });
  if (absl::IsCancelled(found.status()) && is_late) {
    return absl::DeadlineExceededError(absl::StrCat(
        "it takes longer than ", absl::FormatDuration(options_.time_limit)));
  }
  return found;
}

std::optional<v1::AdapterInspection> InspectionQueue::Inspect(
    const Digest& digest) {
  if (std::optional<v1::AdapterInspection> stored = FindStored(digest)) {
    return stored;
  }
  const absl::StatusOr<std::vector<ModuleStatistics>> found =
      InspectInTime(digest);
  if (!found.ok()) {
    if (!MayPass(found.status())) {
      Log(Severity::kWarning, "an adapter could not be inspected",
          {{"digest", digest.ToString()},
           {"error", found.status().ToString()}});
      MutexLock lock(&mu_);
      if (hopeless_.size() >= kMaxHopeless) {
        hopeless_.clear();
      }
      hopeless_.insert(digest);
    }
    return std::nullopt;
  }
  v1::AdapterInspection inspection = ToWire(*found);
  // If it cannot be kept, it is computed again for the next who asks.
  (void)store_->Put(digest, inspection.SerializeAsString());
  return inspection;
}

}  // namespace stockpot
