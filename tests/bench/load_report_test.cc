#include "bench/load_report.h"

#include <vector>

#include "gmock/gmock.h"

#include "tests/bench/records.h"

namespace stockpot {
namespace {

using ::stockpot::testing::MakeCall;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

std::vector<CallRecord> TwoGoodAndOneBad() {
  std::vector<CallRecord> calls = {MakeCall(0, {100, 120, 140}, 150),
                                   MakeCall(50, {150, 160, 250}, 300),
                                   MakeCall(60, {}, 1000)};
  calls[0].prompt_tokens = 10;
  calls[1].prompt_tokens = 20;
  calls[1].arrivals[2].num_tokens = 2;
  calls[2].code = absl::StatusCode::kResourceExhausted;
  calls[2].message = "queue full";
  calls[2].prompt_tokens = 1000;
  return calls;
}

TEST(LoadReportTest, DefinesEachFigureFromTheCallsThatEndedWell) {
  const LoadReport report = MakeLoadReport(TwoGoodAndOneBad(), 0);
  EXPECT_EQ(report.num_requests, 3);
  EXPECT_THAT(report.num_errors, ElementsAre(Pair("RESOURCE_EXHAUSTED", 1)));
  EXPECT_EQ(report.prompt_tokens, 30);
  EXPECT_EQ(report.output_tokens, 7);
  EXPECT_NEAR(report.ttft_ms.mean, 100, 1e-6);
  // 40 ms / 2 tokens and 100 ms / 3 tokens.
  EXPECT_NEAR(report.tpot_ms.mean, (20 + 100.0 / 3) / 2, 1e-6);
  EXPECT_EQ(report.itl_ms.count, 4);
  EXPECT_NEAR(report.itl_ms.max, 90, 1e-6);
  EXPECT_NEAR(report.e2e_ms.max, 250, 1e-6);
}

TEST(LoadReportTest, RatesAreOverTheWholeRun) {
  const LoadReport report = MakeLoadReport(TwoGoodAndOneBad(), 0);
  EXPECT_NEAR(report.seconds, 1, 1e-9);
  EXPECT_NEAR(report.output_tokens_per_second, 7, 1e-6);
  EXPECT_NEAR(report.total_tokens_per_second, 37, 1e-6);
  EXPECT_NEAR(report.requests_per_second, 2, 1e-6);
}

TEST(LoadReportTest, NoCallsGiveZerosNotNaN) {
  const LoadReport report = MakeLoadReport({}, 8);
  EXPECT_EQ(report.output_tokens_per_second, 0);
  EXPECT_THAT(ToJson(report).dump(), ::testing::Not(HasSubstr("null")));
}

TEST(LoadReportTest, TableAndJsonShowTheErrors) {
  const LoadReport report = MakeLoadReport(TwoGoodAndOneBad(), 1);
  EXPECT_THAT(FormatTable(report),
              HasSubstr("RESOURCE_EXHAUSTED: 1\n  the first: queue full"));
  const nlohmann::ordered_json json = ToJson(report);
  EXPECT_EQ(json["errors"]["RESOURCE_EXHAUSTED"], 1);
  EXPECT_EQ(json["itl_ms"]["count"], 4);
}

}  // namespace
}  // namespace stockpot
