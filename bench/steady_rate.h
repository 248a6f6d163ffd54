// Decoding speed with a full batch, cleaned of prefill and of the run's ends.

#ifndef STOCKPOT_BENCH_STEADY_RATE_H_
#define STOCKPOT_BENCH_STEADY_RATE_H_

#include <cstdint>

#include "absl/types/span.h"

#include "bench/call_record.h"

namespace stockpot {

struct SteadyRate {
  double seconds = 0;      // In which `num_clients` calls were decoding.
  int64_t num_tokens = 0;  // That arrived after a gap wholly in that time.
  // `num_clients` times one call's speed over those gaps; 0 if there were none.
  double tokens_per_second = 0;
};

// A call decodes from its first to its last token. Only calls that ended well
// count. REQUIRES: num_clients >= 1.
SteadyRate ComputeSteadyRate(absl::Span<const CallRecord> calls,
                             int32_t num_clients);

}  // namespace stockpot

#endif  // STOCKPOT_BENCH_STEADY_RATE_H_
