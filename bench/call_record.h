// What a client saw of one Generate call.

#ifndef STOCKPOT_BENCH_CALL_RECORD_H_
#define STOCKPOT_BENCH_CALL_RECORD_H_

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace stockpot {

using SteadyTime = std::chrono::steady_clock::time_point;

struct CallRecord {
  // One message that brought tokens.
  struct Arrival {
    SteadyTime time;
    int32_t num_tokens = 0;
  };

  // Open loop: when the call was due, so that a late client counts as waiting.
  SteadyTime start = {};
  SteadyTime end = {};
  absl::StatusCode code = absl::StatusCode::kOk;
  std::string message = {};  // Of the status, if it is an error.
  int32_t prompt_tokens = 0;
  std::vector<Arrival> arrivals = {};  // In order of time.
};

// `to` - `from` in seconds.
inline double SecondsBetween(SteadyTime from, SteadyTime to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace stockpot

#endif  // STOCKPOT_BENCH_CALL_RECORD_H_
