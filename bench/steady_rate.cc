#include "bench/steady_rate.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace stockpot {
namespace {

struct Interval {
  SteadyTime begin;
  SteadyTime end;
};

bool Counts(const CallRecord& call) {
  return call.code == absl::StatusCode::kOk && !call.arrivals.empty();
}

// The times in which at least `num_clients` calls were decoding, in order.
std::vector<Interval> FullTimes(absl::Span<const CallRecord> calls,
                                int32_t num_clients) {
  std::vector<std::pair<SteadyTime, int32_t>> changes;
  for (const CallRecord& call : calls) {
    if (Counts(call)) {
      changes.emplace_back(call.arrivals.front().time, +1);
      changes.emplace_back(call.arrivals.back().time, -1);
    }
  }
  std::sort(changes.begin(), changes.end());
  std::vector<Interval> times;
  int32_t decoding = 0;
  for (const auto& [time, change] : changes) {
    if (change > 0 && decoding == num_clients - 1) {
      times.push_back({time, time});
    } else if (change < 0 && decoding == num_clients) {
      times.back().end = time;
    }
    decoding += change;
  }
  return times;
}

bool Contains(const std::vector<Interval>& times, SteadyTime begin,
              SteadyTime end) {
  const auto after =
      std::upper_bound(times.begin(), times.end(), begin,
                       [](SteadyTime time, const Interval& interval) {
                         return time < interval.begin;
                       });
  return after != times.begin() && end <= std::prev(after)->end;
}

}  // namespace

SteadyRate ComputeSteadyRate(absl::Span<const CallRecord> calls,
                             int32_t num_clients) {
  const std::vector<Interval> times = FullTimes(calls, num_clients);
  SteadyRate rate;
  for (const Interval& interval : times) {
    rate.seconds += SecondsBetween(interval.begin, interval.end);
  }
  // Gaps, not arrivals over time: the tokens of one step arrive one after the
  // other, and the first of them may close the time before the rest.
  double gaps_s = 0;
  for (const CallRecord& call : calls) {
    for (size_t i = 1; Counts(call) && i < call.arrivals.size(); ++i) {
      const SteadyTime begin = call.arrivals[i - 1].time;
      const SteadyTime end = call.arrivals[i].time;
      if (Contains(times, begin, end)) {
        gaps_s += SecondsBetween(begin, end);
        rate.num_tokens += call.arrivals[i].num_tokens;
      }
    }
  }
  if (gaps_s > 0) {
    rate.tokens_per_second =
        num_clients * static_cast<double>(rate.num_tokens) / gaps_s;
  }
  return rate;
}

}  // namespace stockpot
