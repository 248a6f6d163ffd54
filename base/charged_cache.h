// A ChargedCache<K, V> maps keys to immutable shared values, holds the sum of
// their charges at or below a capacity, and builds a missing value exactly once
// however many threads ask for it.
//
// All methods are safe to call from many threads at once. The builder runs on
// the calling thread with no lock held. Evicts the least recently used entry
// that nobody holds; an entry that is held stays until it is released, so the
// total may exceed the capacity by what is held. A builder that must not add to
// that reserves its charge first.

#ifndef STOCKPOT_BASE_CHARGED_CACHE_H_
#define STOCKPOT_BASE_CHARGED_CACHE_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "base/mutex.h"
#include "base/status_macros.h"
#include "base/stop_check.h"

namespace stockpot {

// Figures of one cache since its creation; charges in the cache's unit.
struct CacheStats {
  int64_t hits = 0;
  int64_t misses = 0;  // Builds started, failed ones included.
  int64_t evictions = 0;
  int64_t entries = 0;
  int64_t charge = 0;         // Of all entries.
  int64_t pinned_charge = 0;  // Of the entries that somebody holds.
  int64_t reserved = 0;       // Of builds that are running.
};

// One entry of a cache as it was for a moment.
template <typename K>
struct CacheEntry {
  K key;
  int64_t charge = 0;
  int64_t uses = 0;  // References besides the cache's own.
};

template <typename K, typename V>
class ChargedCache {
 public:
  // What a build produces: the value and its charge, in the cache's unit.
  struct Built {
    std::shared_ptr<const V> value;
    int64_t charge = 0;
  };
  using Builder = std::function<absl::StatusOr<Built>()>;

  // Keeps at most `capacity` units of values that nobody holds. A capacity of 0
  // keeps nothing that is not held and still merges concurrent builds of a key.
  explicit ChargedCache(int64_t capacity) : capacity_(capacity) {}

  ChargedCache(const ChargedCache&) = delete;
  ChargedCache& operator=(const ChargedCache&) = delete;

  // Returns the value for `key`, building it if absent. Sets `*hit`, if given,
  // to whether it was there already: neither built now nor waited for.
  //
  // Concurrent callers with an equal key share one build and its status. A
  // failed build is not remembered: the next call builds again. The result
  // stays valid while the caller holds it.
  //
  // `stopped` says that this caller does not want the value any more. Waiting
  // for the build of another then ends with Cancelled, within kStopPoll; a
  // build of its own goes on for as long as it is Wanted(). Called with a lock
  // held: it must not use the cache.
  absl::StatusOr<std::shared_ptr<const V>> GetOrBuild(
      const K& key, const Builder& build, bool* hit = nullptr,
      const StopCheck& stopped = nullptr) ABSL_LOCKS_EXCLUDED(mu_);

  // False once every caller that waits for the build of `key`, the one that
  // runs it included, is stopped. The build may then fail: nobody who wants the
  // value sees its status, and who comes meanwhile builds again.
  // REQUIRES: called by the builder of `key`.
  bool Wanted(const K& key) ABSL_LOCKS_EXCLUDED(mu_);

  // Sets `charge` aside for the build of `key` and evicts what is in its way,
  // so that values that run, values being built and this one fit together.
  // Ends with the build, whose value takes its place. Returns false, and sets
  // nothing aside, if what others hold and have set aside leaves no room;
  // `*taken`, if given, is then how much that is.
  // REQUIRES: called by the builder of `key`, at most once.
  bool Reserve(const K& key, int64_t charge, int64_t* taken = nullptr)
      ABSL_LOCKS_EXCLUDED(mu_);

  CacheStats Stats() const ABSL_LOCKS_EXCLUDED(mu_);

  // All entries, most recently used first.
  std::vector<CacheEntry<K>> Entries() const ABSL_LOCKS_EXCLUDED(mu_);

  int64_t capacity() const { return capacity_; }
  static constexpr absl::Duration kStopPoll = absl::Milliseconds(20);

 private:
  // One build in flight; waiters hold a reference until `done`.
  struct Flight {
    bool done = false;
    bool abandoned = false;  // Its builder was told that nobody wants it.
    std::vector<const StopCheck*> callers;  // Who builds and who waits.
    int64_t reserved = 0;
    absl::StatusOr<std::shared_ptr<const V>> result =
        absl::UnknownError("not built");
  };
  struct Entry {
    K key;
    Built built;
  };
  using EntryList = std::list<Entry>;

  // The only reference is the cache's own. Nobody can gain one meanwhile,
  // because copies are handed out under `mu_`.
  static bool IsHeld(const Entry& entry) {
    return entry.built.value.use_count() > 1;
  }
  // Waits for the end of another's build. Errors: Cancelled by `stopped`.
  absl::Status WaitFor(Flight& flight, const StopCheck& stopped)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Evict() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  int64_t PinnedCharge() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const int64_t capacity_;

  mutable Mutex mu_;
  CondVar flight_done_;
  // Most recently used first. Every entry is in `index_` and the reverse.
  EntryList entries_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<K, typename EntryList::iterator> index_
      ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<K, std::shared_ptr<Flight>> flights_ ABSL_GUARDED_BY(mu_);
  int64_t total_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t reserved_ ABSL_GUARDED_BY(mu_) = 0;  // Of all flights.
  int64_t hits_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t misses_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t evictions_ ABSL_GUARDED_BY(mu_) = 0;
};

//
// Implementation details follow. Callers need not read.
//

template <typename K, typename V>
absl::StatusOr<std::shared_ptr<const V>> ChargedCache<K, V>::GetOrBuild(
    const K& key, const Builder& build, bool* hit, const StopCheck& stopped) {
  bool ignored = false;
  bool& is_hit = hit == nullptr ? ignored : *hit;
  is_hit = true;
  std::shared_ptr<Flight> flight;
  {
    MutexLock lock(&mu_);
    while (flight == nullptr) {
      if (auto it = index_.find(key); it != index_.end()) {
        ++hits_;
        entries_.splice(entries_.begin(), entries_, it->second);
        std::shared_ptr<const V> value = it->second->built.value;
        Evict();  // What was held when it did not fit may be free by now.
        return value;
      }
      is_hit = false;
      auto [it, is_builder] = flights_.try_emplace(key, nullptr);
      if (is_builder) {
        ++misses_;
        flight = it->second = std::make_shared<Flight>();
        flight->callers.push_back(&stopped);
        break;
      }
      const std::shared_ptr<Flight> other = it->second;
      const bool joins = !other->abandoned;
      hits_ += joins ? 1 : 0;
      RETURN_IF_ERROR(WaitFor(*other, stopped));
      if (joins) {
        return other->result;
      }
    }
  }
  absl::StatusOr<Built> built = build();
  MutexLock lock(&mu_);
  flights_.erase(key);
  reserved_ -= flight->reserved;
  flight->done = true;
  flight_done_.SignalAll();
  if (!built.ok()) {
    return flight->result = built.status();
  }
  flight->result = built->value;
  total_ += built->charge;
  entries_.push_front(Entry{key, *std::move(built)});
  index_[key] = entries_.begin();
  Evict();
  return flight->result;
}

template <typename K, typename V>
absl::Status ChargedCache<K, V>::WaitFor(Flight& flight,
                                         const StopCheck& stopped) {
  flight.callers.push_back(&stopped);
  bool gives_up = false;
  while (!flight.done && !gives_up) {
    flight_done_.WaitFor(&mu_, stopped == nullptr ? absl::Hours(1) : kStopPoll);
    gives_up = IsStopped(stopped);
  }
  flight.callers.erase(
      std::find(flight.callers.begin(), flight.callers.end(), &stopped));
  return gives_up ? absl::CancelledError(
                        "the call ended while it waited for its recipe")
                  : absl::OkStatus();
}

template <typename K, typename V>
bool ChargedCache<K, V>::Wanted(const K& key) {
  MutexLock lock(&mu_);
  Flight& flight = *flights_.at(key);
  // For good: who comes after the builder was told does not join.
  flight.abandoned =
      flight.abandoned ||
      std::all_of(flight.callers.begin(), flight.callers.end(),
                  [](const StopCheck* stopped) { return IsStopped(*stopped); });
  return !flight.abandoned;
}

template <typename K, typename V>
bool ChargedCache<K, V>::Reserve(const K& key, int64_t charge, int64_t* taken) {
  MutexLock lock(&mu_);
  const int64_t held = PinnedCharge() + reserved_;
  if (taken != nullptr) {
    *taken = held;
  }
  if (charge > capacity_ - held) {
    return false;
  }
  flights_.at(key)->reserved = charge;
  reserved_ += charge;
  Evict();
  return true;
}

template <typename K, typename V>
int64_t ChargedCache<K, V>::PinnedCharge() const {
  int64_t pinned = 0;
  for (const Entry& entry : entries_) {
    pinned += IsHeld(entry) ? entry.built.charge : 0;
  }
  return pinned;
}

template <typename K, typename V>
void ChargedCache<K, V>::Evict() {
  auto it = entries_.end();
  while (total_ + reserved_ > capacity_ && it != entries_.begin()) {
    --it;
    if (IsHeld(*it)) {
      continue;
    }
    total_ -= it->built.charge;
    ++evictions_;
    index_.erase(it->key);
    it = entries_.erase(it);
  }
}

template <typename K, typename V>
CacheStats ChargedCache<K, V>::Stats() const {
  MutexLock lock(&mu_);
  return {.hits = hits_,
          .misses = misses_,
          .evictions = evictions_,
          .entries = static_cast<int64_t>(entries_.size()),
          .charge = total_,
          .pinned_charge = PinnedCharge(),
          .reserved = reserved_};
}

template <typename K, typename V>
std::vector<CacheEntry<K>> ChargedCache<K, V>::Entries() const {
  MutexLock lock(&mu_);
  std::vector<CacheEntry<K>> entries;
  entries.reserve(entries_.size());
  for (const Entry& entry : entries_) {
    entries.push_back(
        {entry.key, entry.built.charge, entry.built.value.use_count() - 1});
  }
  return entries;
}

}  // namespace stockpot

#endif  // STOCKPOT_BASE_CHARGED_CACHE_H_
