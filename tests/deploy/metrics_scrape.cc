// Prints a scrape of the metrics that every daemon has, without a daemon: one
// call counted, since a series of calls by code appears with its first.

#include <cstdio>

#include "absl/status/status.h"

#include "base/metrics.h"

int main() {
  stockpot::Metrics metrics;
  metrics.CountRequest("Generate", absl::StatusCode::kOk);
  std::fputs(metrics.Scrape().c_str(), stdout);
  return 0;
}
