#include "bench/load_report.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace stockpot {
namespace {

struct Samples {
  std::vector<double> ttft_ms, tpot_ms, itl_ms, e2e_ms;
};

void AddCall(const CallRecord& call, LoadReport& report, Samples& samples) {
  report.prompt_tokens += call.prompt_tokens;
  samples.e2e_ms.push_back(1e3 * SecondsBetween(call.start, call.end));
  if (call.arrivals.empty()) {
    return;
  }
  int64_t num_tokens = 0;
  for (size_t i = 0; i < call.arrivals.size(); ++i) {
    num_tokens += call.arrivals[i].num_tokens;
    if (i > 0) {
      samples.itl_ms.push_back(1e3 * SecondsBetween(call.arrivals[i - 1].time,
                                                    call.arrivals[i].time));
    }
  }
  report.output_tokens += num_tokens;
  const CallRecord::Arrival& first = call.arrivals.front();
  samples.ttft_ms.push_back(1e3 * SecondsBetween(call.start, first.time));
  if (num_tokens > first.num_tokens) {
    samples.tpot_ms.push_back(
        1e3 * SecondsBetween(first.time, call.arrivals.back().time) /
        static_cast<double>(num_tokens - first.num_tokens));
  }
}

void SetRates(absl::Span<const CallRecord> calls, int64_t num_ok,
              LoadReport& report) {
  const SteadyTime start =
      std::min_element(calls.begin(), calls.end(),
                       [](const CallRecord& a, const CallRecord& b) {
                         return a.start < b.start;
                       })
          ->start;
  const SteadyTime end =
      std::max_element(calls.begin(), calls.end(),
                       [](const CallRecord& a, const CallRecord& b) {
                         return a.end < b.end;
                       })
          ->end;
  report.seconds = SecondsBetween(start, end);
  if (report.seconds <= 0) {
    return;
  }
  const auto output = static_cast<double>(report.output_tokens);
  const auto prompt = static_cast<double>(report.prompt_tokens);
  report.output_tokens_per_second = output / report.seconds;
  report.total_tokens_per_second = (output + prompt) / report.seconds;
  report.requests_per_second = static_cast<double>(num_ok) / report.seconds;
}

nlohmann::ordered_json ToJson(const Percentiles& figures) {
  return {{"count", figures.count}, {"mean", figures.mean},
          {"p50", figures.p50},     {"p90", figures.p90},
          {"p99", figures.p99},     {"max", figures.max}};
}

std::string Row(absl::string_view name, const Percentiles& figures) {
  return absl::StrFormat("%-28s %10.2f %10.2f %10.2f %10.2f %10.2f\n", name,
                         figures.mean, figures.p50, figures.p90, figures.p99,
                         figures.max);
}

std::string Line(absl::string_view name, double value) {
  return absl::StrFormat("%-28s %10.2f\n", name, value);
}

}  // namespace

LoadReport MakeLoadReport(absl::Span<const CallRecord> calls,
                          int32_t num_clients) {
  LoadReport report;
  report.num_requests = static_cast<int64_t>(calls.size());
  if (calls.empty()) {
    return report;
  }
  Samples samples;
  int64_t num_ok = 0;
  for (const CallRecord& call : calls) {
    if (call.code == absl::StatusCode::kOk) {
      AddCall(call, report, samples);
      ++num_ok;
    } else {
      if (report.num_errors.empty()) {
        report.first_error = call.message;
      }
      ++report.num_errors[absl::StatusCodeToString(call.code)];
    }
  }
  SetRates(calls, num_ok, report);
  if (num_clients > 0) {
    report.steady = ComputeSteadyRate(calls, num_clients);
  }
  report.ttft_ms = ComputePercentiles(std::move(samples.ttft_ms));
  report.tpot_ms = ComputePercentiles(std::move(samples.tpot_ms));
  report.itl_ms = ComputePercentiles(std::move(samples.itl_ms));
  report.e2e_ms = ComputePercentiles(std::move(samples.e2e_ms));
  return report;
}

std::string FormatTable(const LoadReport& report) {
  int64_t num_errors = 0;
  std::string errors;
  for (const auto& [code, count] : report.num_errors) {
    num_errors += count;
    absl::StrAppend(&errors, "  ", code, ": ", count, "\n");
  }
  if (num_errors > 0) {
    absl::StrAppend(&errors, "  the first: ", report.first_error, "\n");
  }
  std::string table = absl::StrCat(
      "requests ", report.num_requests, ", of which failed ", num_errors, "\n",
      errors, "tokens in ", report.prompt_tokens, ", out ",
      report.output_tokens, "\n", Line("seconds", report.seconds),
      Line("output tok/s", report.output_tokens_per_second),
      Line("total tok/s", report.total_tokens_per_second),
      Line("requests/s", report.requests_per_second));
  if (report.steady.seconds > 0) {
    absl::StrAppend(&table, Line("decode tok/s, full batch",
                                 report.steady.tokens_per_second));
  }
  absl::StrAppend(&table,
                  absl::StrFormat("%-28s %10s %10s %10s %10s %10s\n", "ms",
                                  "mean", "p50", "p90", "p99", "max"),
                  Row("time to first token", report.ttft_ms),
                  Row("time per output token", report.tpot_ms),
                  Row("inter-token latency", report.itl_ms),
                  Row("end to end", report.e2e_ms));
  return table;
}

nlohmann::ordered_json ToJson(const LoadReport& report) {
  return {{"requests", report.num_requests},
          {"errors", report.num_errors},
          {"first_error", report.first_error},
          {"seconds", report.seconds},
          {"prompt_tokens", report.prompt_tokens},
          {"output_tokens", report.output_tokens},
          {"output_tokens_per_second", report.output_tokens_per_second},
          {"total_tokens_per_second", report.total_tokens_per_second},
          {"requests_per_second", report.requests_per_second},
          {"steady",
           {{"seconds", report.steady.seconds},
            {"tokens", report.steady.num_tokens},
            {"tokens_per_second", report.steady.tokens_per_second}}},
          {"ttft_ms", ToJson(report.ttft_ms)},
          {"tpot_ms", ToJson(report.tpot_ms)},
          {"itl_ms", ToJson(report.itl_ms)},
          {"e2e_ms", ToJson(report.e2e_ms)}};
}

}  // namespace stockpot
