#include "base/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include <prometheus/client_metric.h>
#include <prometheus/metric_type.h>

namespace stockpot {
namespace {

std::string ReadAll(const char* path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

prometheus::MetricFamily Family(std::string name, std::string help,
                                prometheus::MetricType type, double value) {
  prometheus::ClientMetric metric;
  (type == prometheus::MetricType::Counter ? metric.counter.value
                                           : metric.gauge.value) = value;
  return {std::move(name), std::move(help), type, {metric}};
}

// Seconds since the Unix epoch at which the machine started; 0: unknown.
double BootSeconds() {
  const std::string stat = ReadAll("/proc/stat");
  for (const absl::string_view line : absl::StrSplit(stat, '\n')) {
    double seconds = 0;
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
    if (words.size() == 2 && words[0] == "btime" &&
        absl::SimpleAtod(words[1], &seconds)) {
      return seconds;
    }
  }
  return 0;
}

}  // namespace

std::vector<prometheus::MetricFamily> CollectProcessMetrics() {
  using prometheus::MetricType;
  std::vector<prometheus::MetricFamily> families;
  const auto add = [&](const char* name, const char* help, MetricType type,
                       double value) {
    families.push_back(Family(name, help, type, value));
  };
  // Behind the command's name, which may hold anything (proc(5)): field 3 on.
  const std::string stat = ReadAll("/proc/self/stat");
  const std::vector<std::string> fields =
      absl::StrSplit(stat.substr(stat.rfind(')') + 1), ' ', absl::SkipEmpty());
  const auto field = [&](size_t number) {
    double value = 0;
    return fields.size() > number - 3 &&
                   absl::SimpleAtod(fields[number - 3], &value)
               ? value
               : 0;
  };
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  if (fields.size() > 21) {
    add("process_cpu_seconds_total", "User and system time.",
        MetricType::Counter, (field(14) + field(15)) / ticks);
    add("process_virtual_memory_bytes", "Address space.", MetricType::Gauge,
        field(23));
    add("process_resident_memory_bytes", "Memory in use.", MetricType::Gauge,
        field(24) * static_cast<double>(sysconf(_SC_PAGESIZE)));
    if (const double boot = BootSeconds(); boot > 0) {
      add("process_start_time_seconds", "Start, since the Unix epoch.",
          MetricType::Gauge, boot + field(22) / ticks);
    }
  }
  std::error_code error;
  const std::filesystem::directory_iterator open("/proc/self/fd", error);
  if (!error) {
    add("process_open_fds", "Open file descriptors.", MetricType::Gauge,
        static_cast<double>(std::distance(begin(open), end(open))));
  }
  if (rlimit limit = {}; getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    add("process_max_fds", "File descriptors that may be open.",
        MetricType::Gauge, static_cast<double>(limit.rlim_cur));
  }
  return families;
}

}  // namespace stockpot
