// Exit codes of `stockpot`. README.md and --help list the same table.

#ifndef STOCKPOT_CLIENT_EXIT_CODE_H_
#define STOCKPOT_CLIENT_EXIT_CODE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace stockpot {

enum ExitCode : int {
  kExitOk = 0,
  kExitFailure = 1,
  kExitUsage = 2,
  kExitNotFound = 3,
  kExitInvalidArgument = 4,
  kExitUnavailable = 5,
  kExitAlreadyExists = 6,
  kExitResourceExhausted = 7,
  kExitUnimplemented = 8,
  kExitDeadline = 9,
  kExitCancelled = 130,  // 128 + SIGINT, as shells have it.
};

// What `stockpot` exits with when a command ends in `code`.
ExitCode ExitCodeOf(absl::StatusCode code);

// The table of exit codes, for --help.
std::string ExitCodeHelp();

// "stockpot: NOT_FOUND: <message>" without a newline, and for some codes a
// second line that says what to try. `address` is the server that was called.
// Control characters of the message are made visible: it may come from a
// stranger's server.
std::string ErrorText(const absl::Status& status, absl::string_view address);

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_EXIT_CODE_H_
