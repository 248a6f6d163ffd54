// Metrics: every figure that the daemon shows to Prometheus, by name.
//
// Label sets are closed: no label carries a name that a client chose, so the
// number of series does not grow with adapters, recipes or tenants. All methods
// are safe to call from many threads at once.

#ifndef STOCKPOT_BASE_METRICS_H_
#define STOCKPOT_BASE_METRICS_H_

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
}  // namespace prometheus

namespace stockpot {

// Borrowed views of one series; valid while their Metrics lives.
class Counter {
 public:
  explicit Counter(prometheus::Counter* counter) : counter_(counter) {}
  void Add(double amount = 1);

 private:
  prometheus::Counter* counter_;
};

class Gauge {
 public:
  explicit Gauge(prometheus::Gauge* gauge) : gauge_(gauge) {}
  void Set(double value);

 private:
  prometheus::Gauge* gauge_;
};

class Histogram {
 public:
  explicit Histogram(prometheus::Histogram* histogram)
      : histogram_(histogram) {}
  void Observe(absl::Duration value);

 private:
  prometheus::Histogram* histogram_;
};

// What of a composition was in memory when a call asked for it.
enum class Temperature : uint8_t {
  kHot,   // All of it.
  kWarm,  // Its adapters: it was mixed or merged, or that was waited for.
  kCold,  // Not all adapters: the registry was read.
};
// "hot", "warm", "cold"
absl::string_view TemperatureName(Temperature temperature);

class Metrics {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // Ended calls of `method` ("Generate", ...; the caller passes only names of
  // the service definition) by status code.
  void CountRequest(absl::string_view method, absl::StatusCode code);

  // A composition that took `time` to be ready.
  void CountComposition(Temperature temperature, absl::Duration time);

  // Called at the start of each scrape, to set gauges whose value lives
  // elsewhere. REQUIRES: set before the first Scrape().
  void SetRefresh(std::function<void()> refresh);

  // Text exposition format 0.0.4; with the metrics of the process.
  std::string Scrape();

 private:
  struct Families;
  std::unique_ptr<Families> families_;  // Before the series: they borrow it.

 public:
  Counter prompt_tokens;
  Counter generated_tokens;
  Counter steps;
  Counter composition_evictions;
  Counter upload_bytes;
  Counter registry_checked_bytes;

  Gauge queued;
  Gauge running;
  Gauge kv_used_blocks;
  Gauge kv_total_blocks;
  Gauge composition_bytes;
  Gauge composition_pinned_bytes;
  Gauge adapter_cache_bytes;
  Gauge registry_adapters;
  Gauge registry_bytes;
  Gauge registry_free_bytes;
  Gauge registry_damaged_adapters;
  Gauge registry_writable;
  Gauge registry_waiting_uploads;
  Gauge registry_waiting_upload_bytes;
  Gauge registry_last_verify_time;
  Gauge ready;

  Histogram time_to_first_token;
  Histogram time_per_output_token;
  Histogram queue_time;
  Histogram step_time;
  Histogram step_overhead;  // A step's time outside the forward pass.

 private:
  Counter composition_hits_;
  std::array<Counter, 2> composition_misses_;   // Warm, cold.
  std::array<Histogram, 3> composition_times_;  // By Temperature.
};

}  // namespace stockpot

#endif  // STOCKPOT_BASE_METRICS_H_
