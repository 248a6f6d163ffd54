#include "bench/length_distribution.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"

#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::StatusIs;
using ::testing::HasSubstr;

std::vector<int32_t> Draw(absl::string_view text, int num_draws) {
  const auto lengths = LengthDistribution::Parse(text);
  EXPECT_THAT(lengths, IsOk());
  std::mt19937_64 random(7);
  std::vector<int32_t> drawn;
  for (int i = 0; i < num_draws; ++i) {
    drawn.push_back(lengths->Sample(random));
  }
  std::sort(drawn.begin(), drawn.end());
  return drawn;
}

TEST(LengthDistributionTest, FixedIsAlwaysTheSame) {
  const std::vector<int32_t> drawn = Draw("fixed:64", 50);
  EXPECT_EQ(drawn.front(), 64);
  EXPECT_EQ(drawn.back(), 64);
}

TEST(LengthDistributionTest, UniformReachesBothEndsAndNoFurther) {
  const std::vector<int32_t> drawn = Draw("uniform:8-12", 1000);
  EXPECT_EQ(drawn.front(), 8);
  EXPECT_EQ(drawn.back(), 12);
  EXPECT_EQ(drawn[500], 10);
}

TEST(LengthDistributionTest, LognormalHasItsMedianAndIsCut) {
  const std::vector<int32_t> drawn = Draw("lognormal:100,0.8,300", 4001);
  EXPECT_NEAR(drawn[2000], 100, 8);
  // exp(-0.8) of the median lies at the 15.9th percentile.
  EXPECT_NEAR(drawn[635], 45, 5);
  EXPECT_EQ(drawn.back(), 300);
  EXPECT_GE(drawn.front(), 1);
}

TEST(LengthDistributionTest, RefusesWhatIsNoDistribution) {
  for (const char* text :
       {"", "64", "fixed:", "fixed:0", "fixed:-1", "fixed:1e3",
        "fixed:99999999999", "uniform:8", "uniform:9-8", "uniform:0-8",
        "uniform:1-2-3", "lognormal:100,0.8", "lognormal:nan,1,5",
        "lognormal:100,nan,5", "lognormal:100,0,5", "normal:1,2"}) {
    EXPECT_THAT(LengthDistribution::Parse(text),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("expected fixed:N")))
        << text;
  }
}

}  // namespace
}  // namespace stockpot
