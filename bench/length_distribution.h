// Lengths of prompts and answers, drawn from a distribution given as text.

#ifndef STOCKPOT_BENCH_LENGTH_DISTRIBUTION_H_
#define STOCKPOT_BENCH_LENGTH_DISTRIBUTION_H_

#include <cstdint>
#include <random>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stockpot {

// Immutable; thread-safe.
class LengthDistribution {
 public:
  // Longest length that can be asked for.
  static constexpr int32_t kMaxLength = 1 << 20;

  // Reads
  //   fixed:64               always 64
  //   uniform:8-512          each of 8..512 as often
  //   lognormal:128,0.8,512  median 128, sigma 0.8 of the logarithm, cut to
  //                          1..512
  // Errors: InvalidArgument, which says what was expected.
  static absl::StatusOr<LengthDistribution> Parse(absl::string_view text);

  // In [min(), max()], in tokens.
  int32_t Sample(std::mt19937_64& random) const;

  int32_t min() const { return min_; }
  int32_t max() const { return max_; }

 private:
  LengthDistribution(int32_t min, int32_t max, double median, double sigma)
      : min_(min), max_(max), median_(median), sigma_(sigma) {}

  int32_t min_;
  int32_t max_;
  double median_;  // 0: uniform.
  double sigma_;
};

}  // namespace stockpot

#endif  // STOCKPOT_BENCH_LENGTH_DISTRIBUTION_H_
