#include "client/connection.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

namespace stockpot {
namespace {

// A page of 100 adapters with cards and configurations of full size.
constexpr int kMaxReceiveBytes = 64 << 20;

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxReceiveBytes);
  // http_proxy is for the web; a daemon on localhost is not behind it.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(),
                                   arguments);
}

}  // namespace

absl::Status FromGrpcStatus(const grpc::Status& status) {
  // Both number the codes as google.rpc.Code does.
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      status.error_message());
}

Connection::Connection(std::string address,
                       std::optional<absl::Duration> timeout,
                       Interrupt& interrupt)
    : address_(std::move(address)),
      timeout_(timeout),
      interrupt_(interrupt),
      channel_(MakeChannel(address_)) {}

void Connection::Prepare(grpc::ClientContext& context) const {
  if (timeout_.has_value()) {
    context.set_deadline(absl::ToChronoTime(absl::Now() + *timeout_));
  }
}

}  // namespace stockpot
