// An IdleWatch cuts calls whose client has gone silent, or sends or takes so
// slowly that it only holds on to what others need. Thread-safe.

#ifndef STOCKPOT_SERVER_IDLE_WATCH_H_
#define STOCKPOT_SERVER_IDLE_WATCH_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "base/mutex.h"

namespace stockpot {

// What a client must send or take, on average, in the time that it is waited
// for.
struct PaceRule {
  uint64_t min_bytes_per_second = 0;         // 0: anything.
  absl::Duration window = absl::Minutes(1);  // How long before it is judged.
};

class IdleWatch {
 public:
  // Told DeadlineExceeded, which says what was too slow. On the watch's thread;
  // must not wait.
  using Cut = std::function<void(const absl::Status&)>;

  // One watched call. It is the client's turn at first. Time counts only while
  // it is: what we do with a message is not held against its sender.
  class Guard {
   public:
    // The client's turn. REQUIRES: the last Heard() was true.
    void Wait() ABSL_LOCKS_EXCLUDED(mu_);
    // `num_bytes` came, or were taken; our turn. False if the call was cut
    // before, or stopped: then it is not ours to go on with.
    bool Heard(size_t num_bytes) ABSL_LOCKS_EXCLUDED(mu_);
    // Never cuts from now on. A cut that has begun has ended on return, unless
    // it is the caller: what it refers to may go.
    void Stop() ABSL_LOCKS_EXCLUDED(mu_);

   private:
    friend class IdleWatch;

    // Cuts, if it must.
    void Check(absl::Time now, absl::Duration timeout, const PaceRule& pace)
        ABSL_LOCKS_EXCLUDED(mu_);
    absl::Status Judge(absl::Time now, absl::Duration timeout,
                       const PaceRule& pace) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

    Mutex mu_;
    bool is_waiting_ ABSL_GUARDED_BY(mu_) = true;
    absl::Time since_ ABSL_GUARDED_BY(mu_);  // Of the client's turn.
    // Before `since_`, and the bytes of that time and of this turn.
    absl::Duration waited_ ABSL_GUARDED_BY(mu_);
    uint64_t num_bytes_ ABSL_GUARDED_BY(mu_) = 0;
    Cut cut_ ABSL_GUARDED_BY(mu_);  // Null: cut, or stopped.
    CondVar cut_ended_;
    std::thread::id cutter_ ABSL_GUARDED_BY(mu_);  // Runs the cut just now.
  };

  explicit IdleWatch(absl::Duration timeout, PaceRule pace = {});
  ~IdleWatch();

  // Calls `cut` once if the client's turn lasts longer than the timeout, or if
  // its turns come to the window with fewer bytes than the rule wants.
  std::shared_ptr<Guard> Add(Cut cut);

 private:
  void Loop();

  const absl::Duration timeout_;
  const PaceRule pace_;
  Mutex mu_;
  CondVar changed_;
  std::vector<std::weak_ptr<Guard>> guards_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_IDLE_WATCH_H_
