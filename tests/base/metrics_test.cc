#include "base/metrics.h"

#include <unistd.h>

#include <string>

#include "absl/time/clock.h"
#include "absl/time/time.h"
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

// The value of the sample `name`; -1 if there is none.
double ValueOf(const std::string& text, const std::string& name) {
  const size_t at = text.find("\n" + name + " ");
  return at == std::string::npos ? -1
                                 : std::stod(text.substr(at + name.size() + 2));
}

TEST(MetricsTest, TheProcessIsMeasured) {
  Metrics metrics;
  const double before = ValueOf(metrics.Scrape(), "process_open_fds");
  EXPECT_GE(before, 3);
  const int fd = dup(0);
  const std::string text = metrics.Scrape();
  close(fd);
  EXPECT_EQ(ValueOf(text, "process_open_fds"), before + 1);
  EXPECT_GE(ValueOf(text, "process_max_fds"), before);
  EXPECT_GT(ValueOf(text, "process_resident_memory_bytes"), 1 << 20);
  EXPECT_GT(ValueOf(text, "process_virtual_memory_bytes"),
            ValueOf(text, "process_resident_memory_bytes"));
  EXPECT_GE(ValueOf(text, "process_cpu_seconds_total"), 0);
  const double start = ValueOf(text, "process_start_time_seconds");
  EXPECT_NEAR(start, absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch()),
              3600);
}

TEST(MetricsTest, TheVersionIsALabel) {
  EXPECT_THAT(Metrics().Scrape(), HasSubstr("stockpot_build_info{version=\""));
}

}  // namespace
}  // namespace stockpot
