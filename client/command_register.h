// `stockpot register DIR...`: several directories by one command.

#ifndef STOCKPOT_CLIENT_COMMAND_REGISTER_H_
#define STOCKPOT_CLIENT_COMMAND_REGISTER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"

#include "client/command_transfer.h"
#include "client/connection.h"
#include "client/terminal.h"

namespace stockpot {

struct RegisterAllOptions {
  static constexpr int kMaxJobs = 16;

  RegisterOptions each;  // Without its directory.
  std::vector<std::string> directories;
  int jobs = 2;  // Directories at once; in [1, kMaxJobs].
};

// Uploads each directory; a single one as RunRegister(). Of several, all are
// tried, each under the name of its directory; prints what one prints, or a
// line that says why not, in the order that they were given in. After Ctrl-C no
// other is begun.
//
// Errors: InvalidArgument, before anything is sent (a name, version or
// signature for several; two directories of one name); Cancelled; else the code
// of the first one that failed.
absl::Status RunRegisterAll(const RegisterAllOptions& options,
                            const Connection& connection, Terminal& terminal);

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_COMMAND_REGISTER_H_
