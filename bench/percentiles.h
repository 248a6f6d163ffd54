// Mean and percentiles of a set of figures.

#ifndef STOCKPOT_BENCH_PERCENTILES_H_
#define STOCKPOT_BENCH_PERCENTILES_H_

#include <cstdint>
#include <vector>

namespace stockpot {

// In the unit of the figures; all 0 if there are none.
struct Percentiles {
  int64_t count = 0;
  double mean = 0;
  double p50 = 0;
  double p90 = 0;
  double p99 = 0;
  double max = 0;
};

// Percentiles interpolate linearly between neighbours, as numpy.percentile.
Percentiles ComputePercentiles(std::vector<double> values);

}  // namespace stockpot

#endif  // STOCKPOT_BENCH_PERCENTILES_H_
