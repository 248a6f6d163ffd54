// `stockpot info` and `stockpot health`.

#ifndef STOCKPOT_CLIENT_COMMAND_SERVER_H_
#define STOCKPOT_CLIENT_COMMAND_SERVER_H_

#include <string>

#include "absl/status/status.h"

#include "client/connection.h"
#include "client/terminal.h"

namespace stockpot {

struct InfoOptions {
  bool json = false;
};

struct HealthOptions {
  std::string service;  // Empty: the server as a whole.
};

absl::Status RunInfo(const InfoOptions& options, const Connection& connection,
                     Terminal& terminal);

// Prints "SERVING" or what else grpc.health.v1 says; OK only for the former.
// Errors: Unavailable otherwise, NotFound for an unknown service.
absl::Status RunHealth(const HealthOptions& options,
                       const Connection& connection, Terminal& terminal);

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_COMMAND_SERVER_H_
