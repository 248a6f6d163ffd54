#include "server/grpc_status.h"

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

#include "proto/google/rpc/error_details.pb.h"
#include "proto/google/rpc/status.pb.h"

#include "base/retry_after.h"

namespace stockpot {

namespace {
constexpr size_t kMaxMessageBytes = 4096;
}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) {
    return grpc::Status::OK;
  }
  // Both number the codes as google.rpc.Code does.
  const auto code = static_cast<grpc::StatusCode>(status.raw_code());
  const std::string message(status.message().substr(0, kMaxMessageBytes));
  const std::optional<absl::Duration> delay = RetryAfter(status);
  if (!delay.has_value()) {
    return grpc::Status(code, message);
  }
  google::rpc::RetryInfo retry;
  const int64_t milliseconds = absl::ToInt64Milliseconds(*delay);
  retry.mutable_retry_delay()->set_seconds(milliseconds / 1000);
  retry.mutable_retry_delay()->set_nanos(
      static_cast<int32_t>(milliseconds % 1000 * 1'000'000));
  google::rpc::Status details;
  details.set_code(status.raw_code());
  details.set_message(message);
  details.add_details()->PackFrom(retry);
  return grpc::Status(code, message, details.SerializeAsString());
}

grpc::Status NotBuiltYet(absl::string_view what) {
  return grpc::Status(grpc::StatusCode::UNIMPLEMENTED,
                      absl::StrCat(what, " is not built yet"));
}

absl::Status ModelIsLoading() {
  return absl::UnavailableError("the base model is loading; retry shortly");
}

}  // namespace stockpot
