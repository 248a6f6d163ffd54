#include "bench/percentiles.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace stockpot {
namespace {

// REQUIRES: `sorted` is sorted and not empty.
double At(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  const double part = place - static_cast<double>(below);
  return sorted[below] * (1 - part) + sorted[above] * part;
}

}  // namespace

Percentiles ComputePercentiles(std::vector<double> values) {
  if (values.empty()) {
    return {};
  }
  std::sort(values.begin(), values.end());
  return {.count = static_cast<int64_t>(values.size()),
          .mean = std::accumulate(values.begin(), values.end(), 0.0) /
                  static_cast<double>(values.size()),
          .p50 = At(values, 0.5),
          .p90 = At(values, 0.9),
          .p99 = At(values, 0.99),
          .max = values.back()};
}

}  // namespace stockpot
