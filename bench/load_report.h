// The figures of a run, as a table for people and as JSON for scripts.

#ifndef STOCKPOT_BENCH_LOAD_REPORT_H_
#define STOCKPOT_BENCH_LOAD_REPORT_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/types/span.h"
#include "nlohmann/json.hpp"

#include "bench/call_record.h"
#include "bench/percentiles.h"
#include "bench/steady_rate.h"

namespace stockpot {

// Client-measured. Durations in milliseconds. Only calls that ended well count,
// but for num_errors.
struct LoadReport {
  int64_t num_requests = 0;
  std::map<std::string, int64_t> num_errors;  // By name of the status code.
  std::string first_error;                    // Its message.
  double seconds = 0;  // From the first call's start to the last one's end.
  double output_tokens_per_second = 0;
  double total_tokens_per_second = 0;  // Prompt and output.
  double requests_per_second = 0;
  SteadyRate steady;

  Percentiles ttft_ms;  // From start to the first token.
  Percentiles tpot_ms;  // From the first token to the last, per token after it.
  Percentiles itl_ms;   // Between neighbouring messages with tokens.
  Percentiles e2e_ms;   // From start to the status.
  int64_t prompt_tokens = 0;
  int64_t output_tokens = 0;
};

// `num_clients`: for the steady rate; 0 (an open loop) leaves it empty.
LoadReport MakeLoadReport(absl::Span<const CallRecord> calls,
                          int32_t num_clients);

std::string FormatTable(const LoadReport& report);
nlohmann::ordered_json ToJson(const LoadReport& report);

}  // namespace stockpot

#endif  // STOCKPOT_BENCH_LOAD_REPORT_H_
