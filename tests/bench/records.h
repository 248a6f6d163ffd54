// Call records with times in milliseconds from a fixed moment.

#ifndef STOCKPOT_TESTS_BENCH_RECORDS_H_
#define STOCKPOT_TESTS_BENCH_RECORDS_H_

#include <chrono>
#include <vector>

#include "bench/call_record.h"

namespace stockpot::testing {

inline SteadyTime AtMs(int ms) {
  return SteadyTime() + std::chrono::hours(1) + std::chrono::milliseconds(ms);
}

// A good call that got one token at each of `arrivals_ms`.
inline CallRecord MakeCall(int start_ms, const std::vector<int>& arrivals_ms,
                           int end_ms) {
  CallRecord call{.start = AtMs(start_ms), .end = AtMs(end_ms)};
  for (const int ms : arrivals_ms) {
    call.arrivals.push_back({AtMs(ms), 1});
  }
  return call;
}

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_BENCH_RECORDS_H_
