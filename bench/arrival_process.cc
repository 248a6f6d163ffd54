#include "bench/arrival_process.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace stockpot {

absl::StatusOr<ArrivalProcess> ArrivalProcess::Make(double rate, double cv,
                                                    uint64_t seed) {
  if (!(rate > 0 && rate <= 1e6)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "rate ", rate, ": expected requests per second in (0, 1e6]"));
  }
  if (!(cv >= 0 && cv <= 100)) {
    return absl::InvalidArgumentError(
        absl::StrCat("burstiness ", cv,
                     ": expected a coefficient of variation in [0, 100]"));
  }
  return ArrivalProcess(rate, cv, seed);
}

ArrivalProcess::ArrivalProcess(double rate, double cv, uint64_t seed)
    : rate_(rate),
      cv_(cv),
      random_(seed),
      gap_s_(cv > 0 ? 1 / (cv * cv) : 1, cv > 0 ? cv * cv / rate : 1) {}

absl::Duration ArrivalProcess::Next() {
  return absl::Seconds(cv_ > 0 ? gap_s_(random_) : 1 / rate_);
}

}  // namespace stockpot
