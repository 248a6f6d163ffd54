#include "bench/percentiles.h"

#include <vector>

#include "gmock/gmock.h"

namespace stockpot {
namespace {

TEST(PercentilesTest, NothingGivesZeros) {
  const Percentiles figures = ComputePercentiles({});
  EXPECT_EQ(figures.count, 0);
  EXPECT_EQ(figures.p99, 0);
}

TEST(PercentilesTest, OneValueIsEveryPercentile) {
  const Percentiles figures = ComputePercentiles({3});
  EXPECT_EQ(figures.mean, 3);
  EXPECT_EQ(figures.p50, 3);
  EXPECT_EQ(figures.p99, 3);
}

// numpy.percentile([10, 1, 4, 2], [50, 90, 99]) = 3, 8.2, 9.82
TEST(PercentilesTest, InterpolatesAsNumpy) {
  const Percentiles figures = ComputePercentiles({10, 1, 4, 2});
  EXPECT_EQ(figures.count, 4);
  EXPECT_DOUBLE_EQ(figures.mean, 4.25);
  EXPECT_DOUBLE_EQ(figures.p50, 3);
  EXPECT_DOUBLE_EQ(figures.p90, 8.2);
  EXPECT_DOUBLE_EQ(figures.p99, 9.82);
  EXPECT_EQ(figures.max, 10);
}

}  // namespace
}  // namespace stockpot
