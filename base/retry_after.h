// A status that says when to try again. At the edge it becomes
// google.rpc.RetryInfo.

#ifndef STOCKPOT_BASE_RETRY_AFTER_H_
#define STOCKPOT_BASE_RETRY_AFTER_H_

#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace stockpot {

// `status` with the same code and message, and the advice to try again after
// `delay`. REQUIRES: !status.ok(), delay >= 0.
absl::Status WithRetryAfter(absl::Status status, absl::Duration delay);

// The advice that `status` carries.
std::optional<absl::Duration> RetryAfter(const absl::Status& status);

}  // namespace stockpot

#endif  // STOCKPOT_BASE_RETRY_AFTER_H_
