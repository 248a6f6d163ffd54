// What every process exports to Prometheus, by the names that its client
// libraries agreed on
// (https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics).

#ifndef STOCKPOT_BASE_PROCESS_METRICS_H_
#define STOCKPOT_BASE_PROCESS_METRICS_H_

#include <vector>

#include <prometheus/metric_family.h>

namespace stockpot {

// Of this process, now: processor time, memory, file descriptors, start. Linux;
// what /proc does not tell is left out. Thread-safe.
std::vector<prometheus::MetricFamily> CollectProcessMetrics();

}  // namespace stockpot

#endif  // STOCKPOT_BASE_PROCESS_METRICS_H_
