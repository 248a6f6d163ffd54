#include "server/registry_watch.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/time/clock.h"

#include "base/log.h"

namespace stockpot {

RegistryWatch::RegistryWatch(RocksStore* registry, const Options& options,
                             std::function<void(bool writable)> on_change)
    : registry_(registry),
      options_(options),
      on_change_(std::move(on_change)),
      writable_(registry->Stats().writable) {
  on_change_(writable_);
  task_.Start(options_.period, [this] { Look(); });
}

void RegistryWatch::Look() {
  StoreStats stats = registry_->Stats();
  if (!stats.writable && stats.free_disk_bytes >= options_.least_free_bytes &&
      absl::Now() >= next_try_) {
    // An error was logged; the next try may fare better.
    (void)registry_->Recover();
    next_try_ = absl::Now() + options_.retry_period;
    stats = registry_->Stats();
  }
  if (stats.writable == writable_) {
    return;
  }
  writable_ = stats.writable;
  Log(writable_ ? Severity::kInfo : Severity::kError,
      writable_ ? "the registry takes writes again"
                : "the registry takes no writes: its disk failed or is full");
  on_change_(writable_);
}

void RegistryWatch::SetGauges(Metrics* metrics) {
  const StoreStats store = registry_->Stats();
  metrics->registry_adapters.Set(static_cast<double>(store.num_adapters));
  metrics->registry_bytes.Set(static_cast<double>(store.bytes));
  metrics->registry_free_bytes.Set(static_cast<double>(store.free_disk_bytes));
  metrics->registry_damaged_adapters.Set(
      static_cast<double>(store.num_damaged));
  metrics->registry_writable.Set(store.writable ? 1 : 0);
  const Scrubber::Stats checks = registry_->scrubber().stats();
  if (checks.last_end.has_value()) {
    metrics->registry_last_verify_time.Set(
        static_cast<double>(absl::ToUnixSeconds(*checks.last_end)));
  }
  MutexLock lock(&mu_);
  metrics->registry_checked_bytes.Add(
      static_cast<double>(checks.bytes_checked - bytes_shown_));
  bytes_shown_ = checks.bytes_checked;
}

}  // namespace stockpot
