#include "base/metrics.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stockpot {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(MetricsTest, CountsCallsByMethodAndCode) {
  Metrics metrics;
  metrics.CountRequest("Generate", absl::StatusCode::kOk);
  metrics.CountRequest("Generate", absl::StatusCode::kOk);
  metrics.CountRequest("Generate", absl::StatusCode::kNotFound);
  const std::string text = metrics.Scrape();
  EXPECT_THAT(text, HasSubstr("stockpot_requests_total{code=\"OK\",method="
                              "\"Generate\"} 2"));
  EXPECT_THAT(text, HasSubstr("code=\"NOT_FOUND\",method=\"Generate\"} 1"));
}

TEST(MetricsTest, RefreshRunsBeforeEachScrape) {
  Metrics metrics;
  int calls = 0;
  metrics.SetRefresh([&] { metrics.registry_adapters.Set(++calls); });
  EXPECT_THAT(metrics.Scrape(), HasSubstr("stockpot_registry_adapters 1\n"));
  EXPECT_THAT(metrics.Scrape(), HasSubstr("stockpot_registry_adapters 2\n"));
}

TEST(MetricsTest, DurationsAreSeconds) {
  Metrics metrics;
  metrics.time_to_first_token.Observe(absl::Milliseconds(30));
  const std::string text = metrics.Scrape();
  EXPECT_THAT(text, HasSubstr("stockpot_time_to_first_token_seconds_sum 0.03"));
  EXPECT_THAT(
      text,
      HasSubstr("stockpot_time_to_first_token_seconds_bucket{le=\"0.04\"} 1"));
}

}  // namespace
}  // namespace stockpot
