#include "registry/blob_table.h"

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"

#include "base/digest.h"
#include "base/mutex.h"
#include "registry/adapter_store.h"

namespace stockpot {

struct BlobTable::State {
  // Waits for the next blob to remove; false once stopped.
  bool Next(Digest* digest) ABSL_LOCKS_EXCLUDED(mu);
  // True if that was the last of a series.
  bool Done() ABSL_LOCKS_EXCLUDED(mu);
  void Unpin(const Digest& digest) ABSL_LOCKS_EXCLUDED(mu);

  mutable Mutex mu;
  CondVar changed;
  absl::flat_hash_map<Digest, int> pins ABSL_GUARDED_BY(mu);
  // Nothing names them; they wait for their last unpin.
  absl::flat_hash_set<Digest> doomed ABSL_GUARDED_BY(mu);
  std::deque<Digest> queue ABSL_GUARDED_BY(mu);
  absl::flat_hash_set<Digest> in_removal ABSL_GUARDED_BY(mu);
  absl::flat_hash_set<Digest> quarantine ABSL_GUARDED_BY(mu);
  bool busy ABSL_GUARDED_BY(mu) = false;
  bool stopped ABSL_GUARDED_BY(mu) = false;
};

bool BlobTable::State::Next(Digest* digest) {
  MutexLock lock(&mu);
  while (queue.empty() && !stopped) {
    changed.Wait(&mu);
  }
  if (stopped) {
    return false;
  }
  *digest = queue.front();
  queue.pop_front();
  busy = true;
  return true;
}

bool BlobTable::State::Done() {
  MutexLock lock(&mu);
  return queue.empty() || stopped;
}

void BlobTable::State::Unpin(const Digest& digest) {
  MutexLock lock(&mu);
  auto it = pins.find(digest);
  if (--it->second > 0) {
    return;
  }
  pins.erase(it);
  if (doomed.erase(digest) > 0) {
    queue.push_back(digest);
    changed.SignalAll();
  }
}

BlobTable::BlobTable() : state_(std::make_shared<State>()) {}

BlobTable::~BlobTable() { Stop(); }

void BlobTable::Start(Remove remove, std::function<void()> idle) {
  thread_ = std::thread(
      [state = state_, remove = std::move(remove), idle = std::move(idle)] {
        Digest digest;
        while (state->Next(&digest)) {
          remove(digest);
          if (state->Done()) {
            idle();
          }
          MutexLock lock(&state->mu);
          state->busy = false;
          state->changed.SignalAll();
        }
      });
}

void BlobTable::Stop() {
  {
    MutexLock lock(&state_->mu);
    state_->stopped = true;
    state_->changed.SignalAll();
  }
  if (thread_.joinable()) {
    thread_.join();
  }
}

std::shared_ptr<const BlobPin> BlobTable::Pin(const Digest& digest) {
  class Pinned : public BlobPin {
   public:
    Pinned(std::shared_ptr<State> state, const Digest& digest)
        : state_(std::move(state)), digest_(digest) {}
    ~Pinned() override { state_->Unpin(digest_); }

   private:
    const std::shared_ptr<State> state_;
    const Digest digest_;
  };
  {
    MutexLock lock(&state_->mu);
    while (state_->in_removal.contains(digest)) {
      state_->changed.Wait(&state_->mu);
    }
    ++state_->pins[digest];
  }
  return std::make_shared<Pinned>(state_, digest);
}

void BlobTable::Doom(const Digest& digest) {
  MutexLock lock(&state_->mu);
  if (state_->pins.contains(digest)) {
    state_->doomed.insert(digest);
  } else {
    state_->queue.push_back(digest);
    state_->changed.SignalAll();
  }
}

bool BlobTable::BeginRemoval(const Digest& digest) {
  MutexLock lock(&state_->mu);
  if (state_->pins.contains(digest)) {
    state_->doomed.insert(digest);
    return false;
  }
  state_->in_removal.insert(digest);
  return true;
}

void BlobTable::EndRemoval(const Digest& digest) {
  MutexLock lock(&state_->mu);
  state_->in_removal.erase(digest);
  state_->changed.SignalAll();
}

bool BlobTable::IsPinned(const Digest& digest) const {
  MutexLock lock(&state_->mu);
  return state_->pins.contains(digest);
}

bool BlobTable::IsDoomed(const Digest& digest) const {
  MutexLock lock(&state_->mu);
  return state_->doomed.contains(digest);
}

void BlobTable::WaitUntilIdle() {
  MutexLock lock(&state_->mu);
  while ((state_->busy || !state_->queue.empty()) && !state_->stopped) {
    state_->changed.Wait(&state_->mu);
  }
}

void BlobTable::Quarantine(const Digest& digest) {
  MutexLock lock(&state_->mu);
  state_->quarantine.insert(digest);
}

void BlobTable::Release(const Digest& digest) {
  MutexLock lock(&state_->mu);
  state_->quarantine.erase(digest);
}

bool BlobTable::IsQuarantined(const Digest& digest) const {
  MutexLock lock(&state_->mu);
  return state_->quarantine.contains(digest);
}

size_t BlobTable::num_quarantined() const {
  MutexLock lock(&state_->mu);
  return state_->quarantine.size();
}

std::vector<Digest> BlobTable::Quarantined() const {
  MutexLock lock(&state_->mu);
  return {state_->quarantine.begin(), state_->quarantine.end()};
}

void BlobTable::SetQuarantine(absl::flat_hash_set<Digest> digests) {
  MutexLock lock(&state_->mu);
  state_->quarantine = std::move(digests);
}

}  // namespace stockpot
