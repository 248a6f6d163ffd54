#include "server/grpc_status.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace stockpot {

namespace {
constexpr size_t kMaxMessageBytes = 4096;
}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) {
    return grpc::Status::OK;
  }
  // Both number the codes as google.rpc.Code does.
  return grpc::Status(
      static_cast<grpc::StatusCode>(status.raw_code()),
      std::string(status.message().substr(0, kMaxMessageBytes)));
}

grpc::Status NotBuiltYet(absl::string_view what) {
  return grpc::Status(grpc::StatusCode::UNIMPLEMENTED,
                      absl::StrCat(what, " is not built yet"));
}

absl::Status ModelIsLoading() {
  return absl::UnavailableError("the base model is loading; retry shortly");
}

}  // namespace stockpot
