#include "bench/arrival_process.h"

#include <cmath>
#include <limits>

#include "gmock/gmock.h"

#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::StatusIs;
using ::testing::HasSubstr;

struct Gaps {
  double mean_s = 0;
  double cv = 0;
};

Gaps Measure(double rate, double cv) {
  auto arrivals = ArrivalProcess::Make(rate, cv, 5);
  EXPECT_THAT(arrivals, IsOk());
  constexpr int kGaps = 20000;
  double sum = 0, squares = 0;
  for (int i = 0; i < kGaps; ++i) {
    const double gap = absl::ToDoubleSeconds(arrivals->Next());
    sum += gap;
    squares += gap * gap;
  }
  const double mean = sum / kGaps;
  const double variance = std::max(0.0, squares / kGaps - mean * mean);
  return {.mean_s = mean, .cv = std::sqrt(variance) / mean};
}

TEST(ArrivalProcessTest, GapsHaveTheRateAndTheBurstinessAskedFor) {
  for (const double cv : {0.5, 1.0, 3.0}) {
    const Gaps gaps = Measure(20, cv);
    EXPECT_NEAR(gaps.mean_s, 0.05, 0.05 * 0.03 * (1 + cv)) << cv;
    EXPECT_NEAR(gaps.cv, cv, 0.1 * cv) << cv;
  }
}

TEST(ArrivalProcessTest, ZeroBurstinessIsAMetronome) {
  const Gaps gaps = Measure(4, 0);
  EXPECT_DOUBLE_EQ(gaps.mean_s, 0.25);
  EXPECT_NEAR(gaps.cv, 0, 1e-6);
}

TEST(ArrivalProcessTest, RefusesImpossibleRates) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  for (const double rate : {0.0, -1.0, kNan, 1e9}) {
    EXPECT_THAT(
        ArrivalProcess::Make(rate, 1, 0),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("rate")));
  }
  for (const double cv : {-0.1, kNan, 1000.0}) {
    EXPECT_THAT(
        ArrivalProcess::Make(1, cv, 0),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("burstiness")));
  }
}

}  // namespace
}  // namespace stockpot
