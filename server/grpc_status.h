// Converts absl::Status to grpc::Status: the only place that does.

#ifndef STOCKPOT_SERVER_GRPC_STATUS_H_
#define STOCKPOT_SERVER_GRPC_STATUS_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include <grpcpp/support/status.h>

namespace stockpot {

// Same code, same message, cut to 4 KiB: it travels in a header. A RetryAfter()
// goes along as google.rpc.RetryInfo among the details.
grpc::Status ToGrpcStatus(const absl::Status& status);

// What a method that is not built yet answers.
grpc::Status NotBuiltYet(absl::string_view what);

// What every method answers until the model is loaded.
absl::Status ModelIsLoading();

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_GRPC_STATUS_H_
