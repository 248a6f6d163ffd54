#include "base/metrics.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include "base/process_metrics.h"

namespace stockpot {

void Counter::Add(double amount) { counter_->Increment(amount); }
void Gauge::Set(double value) { gauge_->Set(value); }
void Histogram::Observe(absl::Duration value) {
  histogram_->Observe(absl::ToDoubleSeconds(value));
}

namespace {

using Buckets = prometheus::Histogram::BucketBoundaries;

// OpenTelemetry's GenAI conventions, in seconds.
Buckets FirstTokenBuckets() {
  return {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,
          0.25,  0.5,   0.75, 1.0,  2.5,  5.0,  7.5,  10.0};
}
Buckets PerTokenBuckets() {
  return {0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15,
          0.2,    0.3,   0.4,  0.5,   0.75, 1.0,   2.5};
}
Buckets ShortBuckets() {
  return {0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001,
          0.002,   0.005,   0.01,    0.05,   0.1,    1.0};
}
// From coefficients in memory to a delta-space merge of a large model.
Buckets ReadyBuckets() {
  return {0.00001, 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05,
          0.1,     0.5,    1.0,    5.0,   15.0,  60.0, 240.0};
}

prometheus::Labels LabelOf(Temperature temperature) {
  return {{"temperature", std::string(TemperatureName(temperature))}};
}

}  // namespace

absl::string_view TemperatureName(Temperature temperature) {
  switch (temperature) {
    case Temperature::kHot:
      return "hot";
    case Temperature::kWarm:
      return "warm";
    case Temperature::kCold:
      break;
  }
  return "cold";
}

struct Metrics::Families {
  prometheus::Registry registry;
  prometheus::Family<prometheus::Counter>* requests = nullptr;
  std::function<void()> refresh;

  prometheus::Counter* NewCounter(const std::string& name,
                                  const std::string& help) {
    return &prometheus::BuildCounter()
                .Name("stockpot_" + name)
                .Help(help)
                .Register(registry)
                .Add({});
  }
  prometheus::Gauge* NewGauge(const std::string& name,
                              const std::string& help) {
    return &prometheus::BuildGauge()
                .Name("stockpot_" + name)
                .Help(help)
                .Register(registry)
                .Add({});
  }
  prometheus::Histogram* NewHistogram(const std::string& name,
                                      const std::string& help,
                                      const Buckets& buckets) {
    return &prometheus::BuildHistogram()
                .Name("stockpot_" + name)
                .Help(help)
                .Register(registry)
                .Add({}, buckets);
  }
  // One series for each label of the temperatures given.
  std::array<Counter, 2> NewMisses(const std::string& name,
                                   const std::string& help) {
    auto& family = prometheus::BuildCounter()
                       .Name("stockpot_" + name)
                       .Help(help)
                       .Register(registry);
    return {Counter(&family.Add(LabelOf(Temperature::kWarm))),
            Counter(&family.Add(LabelOf(Temperature::kCold)))};
  }
  std::array<Histogram, 3> NewTimes(const std::string& name,
                                    const std::string& help,
                                    const Buckets& buckets) {
    auto& family = prometheus::BuildHistogram()
                       .Name("stockpot_" + name)
                       .Help(help)
                       .Register(registry);
    return {Histogram(&family.Add(LabelOf(Temperature::kHot), buckets)),
            Histogram(&family.Add(LabelOf(Temperature::kWarm), buckets)),
            Histogram(&family.Add(LabelOf(Temperature::kCold), buckets))};
  }
};

Metrics::Metrics()
    : families_(std::make_unique<Families>()),
      prompt_tokens(families_->NewCounter(
          "prompt_tokens_total", "Prompt tokens of accepted sequences.")),
      generated_tokens(
          families_->NewCounter("generated_tokens_total", "Tokens sampled.")),
      steps(families_->NewCounter("engine_steps_total", "Model steps run.")),
      composition_evictions(families_->NewCounter(
          "composition_cache_evictions_total",
          "Compositions dropped to stay within the cache's bound.")),
      upload_bytes(
          families_->NewCounter("registry_upload_bytes_total",
                                "Bytes of adapters received, stored or not.")),
      registry_checked_bytes(families_->NewCounter(
          "registry_checked_bytes_total",
          "Stored bytes read to compare them with their hashes.")),
      queued(families_->NewGauge("queued_sequences",
                                 "Sequences accepted and not yet running.")),
      running(families_->NewGauge("running_sequences",
                                  "Sequences in the running batch.")),
      kv_used_blocks(families_->NewGauge("kv_cache_used_blocks",
                                         "KV blocks held by sequences.")),
      kv_total_blocks(
          families_->NewGauge("kv_cache_blocks", "KV blocks that exist.")),
      composition_bytes(families_->NewGauge(
          "composition_cache_bytes", "Charge of the composition cache.")),
      composition_pinned_bytes(families_->NewGauge(
          "composition_pinned_bytes",
          "Bytes of compositions that running calls hold.")),
      adapter_cache_bytes(families_->NewGauge(
          "adapter_cache_bytes", "Charge of the decoded adapters' cache.")),
      registry_adapters(
          families_->NewGauge("registry_adapters", "Adapter versions stored.")),
      registry_bytes(families_->NewGauge("registry_bytes",
                                         "Bytes of the adapters stored.")),
      registry_free_bytes(families_->NewGauge(
          "registry_free_bytes", "Free space on the registry's volume.")),
      registry_damaged_adapters(families_->NewGauge(
          "registry_damaged_adapters",
          "Stored contents that are damaged and served to nobody.")),
      registry_writable(families_->NewGauge(
          "registry_writable",
          "1 while the registry takes writes; 0 if its disk failed or is "
          "full.")),
      registry_waiting_uploads(families_->NewGauge(
          "registry_waiting_uploads",
          "Uploads that broke off and wait to be resumed.")),
      registry_waiting_upload_bytes(families_->NewGauge(
          "registry_waiting_upload_bytes",
          "Bytes that came of the uploads that wait to be resumed.")),
      registry_last_verify_time(families_->NewGauge(
          "registry_last_verify_timestamp_seconds",
          "When all that is stored was last checked; 0: not since the start.")),
      ready(families_->NewGauge(
          "ready", "1 while the daemon takes Generate calls, else 0.")),
      time_to_first_token(families_->NewHistogram(
          "time_to_first_token_seconds",
          "From acceptance to the first token of a sequence.",
          FirstTokenBuckets())),
      time_per_output_token(families_->NewHistogram(
          "time_per_output_token_seconds",
          "Mean time per token after the first, per sequence.",
          PerTokenBuckets())),
      queue_time(families_->NewHistogram(
          "queue_seconds", "From acceptance to the first step of a sequence.",
          FirstTokenBuckets())),
      step_time(families_->NewHistogram(
          "engine_step_seconds", "Whole model steps.", PerTokenBuckets())),
      step_overhead(families_->NewHistogram(
          "engine_step_overhead_seconds",
          "A step's time outside the forward pass.", ShortBuckets())),
      composition_hits_(
          families_->NewCounter("composition_cache_hits_total",
                                "Calls whose composition was in the cache.")),
      composition_misses_(families_->NewMisses(
          "composition_cache_misses_total",
          "Calls whose composition had to be built, from adapters in memory "
          "(warm) or not (cold).")),
      composition_times_(families_->NewTimes(
          "composition_ready_seconds",
          "Making a composition ready, by what was in memory.",
          ReadyBuckets())) {
  families_->requests = &prometheus::BuildCounter()
                             .Name("stockpot_requests_total")
                             .Help("Ended calls by method and status code.")
                             .Register(families_->registry);
  prometheus::BuildGauge()
      .Name("stockpot_build_info")
      .Help("1, with the version as a label.")
      .Register(families_->registry)
      .Add({{"version", STOCKPOT_VERSION}})
      .Set(1);
}

Metrics::~Metrics() = default;

void Metrics::CountRequest(absl::string_view method, absl::StatusCode code) {
  families_->requests
      ->Add({{"method", std::string(method)},
             {"code", absl::StatusCodeToString(code)}})
      .Increment();
}

void Metrics::CountComposition(Temperature temperature, absl::Duration time) {
  const auto index = static_cast<size_t>(temperature);
  (index == 0 ? composition_hits_ : composition_misses_[index - 1]).Add();
  composition_times_[index].Observe(time);
}

void Metrics::SetRefresh(std::function<void()> refresh) {
  families_->refresh = std::move(refresh);
}

std::string Metrics::Scrape() {
  if (families_->refresh) {
    families_->refresh();
  }
  std::vector<prometheus::MetricFamily> families =
      families_->registry.Collect();
  for (prometheus::MetricFamily& family : CollectProcessMetrics()) {
    families.push_back(std::move(family));
  }
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace stockpot
