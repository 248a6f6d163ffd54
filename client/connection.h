// Connection is the channel to one stockpotd. Thread-safe.

#ifndef STOCKPOT_CLIENT_CONNECTION_H_
#define STOCKPOT_CLIENT_CONNECTION_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include "client/interrupt.h"

namespace stockpot {

// `status` with the same code and message.
absl::Status FromGrpcStatus(const grpc::Status& status);

class Connection {
 public:
  // Calls `address` ("host:port") without encryption and not through a proxy.
  // With `timeout`, each call ends by then. `interrupt` is borrowed.
  Connection(std::string address, std::optional<absl::Duration> timeout,
             Interrupt& interrupt);

  const std::string& address() const { return address_; }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  const std::optional<absl::Duration>& timeout() const { return timeout_; }
  Interrupt& interrupt() const { return interrupt_; }

  // Runs `call`, as in
  //   connection.Call([&](grpc::ClientContext* context) {
  //     return stub->GetAdapter(context, request, &response);
  //   });
  // with its deadline, and cancels it on Ctrl-C. Returns its status.
  template <typename F>
  absl::Status Call(F call) const {
    grpc::ClientContext context;
    Prepare(context);
    const Interrupt::Watch watch(interrupt_, context);
    return FromGrpcStatus(call(&context));
  }

  // Sets the deadline of a call that the caller makes itself.
  void Prepare(grpc::ClientContext& context) const;

 private:
  const std::string address_;
  const std::optional<absl::Duration> timeout_;
  Interrupt& interrupt_;
  const std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_CONNECTION_H_
