#include "bench/steady_rate.h"

#include <vector>

#include "gmock/gmock.h"

#include "tests/bench/records.h"

namespace stockpot {
namespace {

using ::stockpot::testing::MakeCall;

TEST(SteadyRateTest, OneClientDecodesFromItsFirstToItsLastToken) {
  const std::vector<CallRecord> calls = {MakeCall(0, {100, 110, 120, 130}, 131),
                                         MakeCall(131, {231, 241, 251}, 260)};
  const SteadyRate rate = ComputeSteadyRate(calls, 1);
  EXPECT_NEAR(rate.seconds, 0.05, 1e-9);
  EXPECT_EQ(rate.num_tokens, 5);
  EXPECT_NEAR(rate.tokens_per_second, 100, 1e-6);
}

// Tokens of one step come a millisecond apart; the step takes ten.
TEST(SteadyRateTest, StepsThatDeliverOneAfterTheOtherCountWhole) {
  const std::vector<CallRecord> calls = {MakeCall(0, {50, 60, 70, 80}, 81),
                                         MakeCall(0, {51, 61, 71, 81}, 82)};
  const SteadyRate rate = ComputeSteadyRate(calls, 2);
  EXPECT_NEAR(rate.tokens_per_second, 200, 1e-6);
}

TEST(SteadyRateTest, TimeWithFewerClientsIsLeftOut) {
  // The second joins late, with a slow prefill in between, and stays alone.
  const std::vector<CallRecord> calls = {
      MakeCall(0, {10, 15, 20, 100, 110, 120}, 121),
      MakeCall(20, {100, 110, 120, 125, 130}, 131)};
  const SteadyRate rate = ComputeSteadyRate(calls, 2);
  EXPECT_NEAR(rate.seconds, 0.02, 1e-9);
  EXPECT_EQ(rate.num_tokens, 4);
  EXPECT_NEAR(rate.tokens_per_second, 200, 1e-6);
}

TEST(SteadyRateTest, NothingWithoutAFullBatchOrAGoodCall) {
  std::vector<CallRecord> calls = {MakeCall(0, {10, 20}, 21)};
  EXPECT_EQ(ComputeSteadyRate(calls, 2).tokens_per_second, 0);
  calls[0].code = absl::StatusCode::kUnavailable;
  EXPECT_EQ(ComputeSteadyRate(calls, 1).tokens_per_second, 0);
}

}  // namespace
}  // namespace stockpot
