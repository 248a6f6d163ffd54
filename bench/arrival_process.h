// Times between the requests of an open loop.

#ifndef STOCKPOT_BENCH_ARRIVAL_PROCESS_H_
#define STOCKPOT_BENCH_ARRIVAL_PROCESS_H_

#include <cstdint>
#include <random>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace stockpot {

// Not thread-safe.
class ArrivalProcess {
 public:
  // `rate` requests per second on average. The gaps are gamma-distributed with
  // coefficient of variation `cv`: 0 is a metronome, 1 a Poisson process, more
  // is burstier. Source: S-LoRA, benchmarks/trace.py.
  // Errors: InvalidArgument if rate is not in (0, 1e6] or cv not in [0, 100].
  static absl::StatusOr<ArrivalProcess> Make(double rate, double cv,
                                             uint64_t seed);

  // The gap before the next request.
  absl::Duration Next();

 private:
  ArrivalProcess(double rate, double cv, uint64_t seed);

  const double rate_;
  const double cv_;
  std::mt19937_64 random_;
  std::gamma_distribution<double> gap_s_;
};

}  // namespace stockpot

#endif  // STOCKPOT_BENCH_ARRIVAL_PROCESS_H_
