// A StopCheck tells long work that nobody wants its result any more.

#ifndef STOCKPOT_BASE_STOP_CHECK_H_
#define STOCKPOT_BASE_STOP_CHECK_H_

#include <functional>

namespace stockpot {

// True once the result is not wanted; stays true from then on. Quick and safe
// to call from many threads, also with locks held. Empty: always wanted.
using StopCheck = std::function<bool()>;

inline bool IsStopped(const StopCheck& stopped) {
  return stopped != nullptr && stopped();
}

}  // namespace stockpot

#endif  // STOCKPOT_BASE_STOP_CHECK_H_
