// The command line of `stockpot`: what can be said, and who runs it.

#ifndef STOCKPOT_CLIENT_COMMAND_LINE_H_
#define STOCKPOT_CLIENT_COMMAND_LINE_H_

#include <string>
#include <vector>

#include "client/exit_code.h"
#include "client/interrupt.h"
#include "client/terminal.h"

namespace stockpot {

// Runs `stockpot ARGS...` (without the program's name) to its end and returns
// its exit code. Errors go to `terminal.err`. `interrupt` cancels the call that
// runs. Reads STOCKPOT_ADDRESS from the environment.
ExitCode RunCommandLine(const std::vector<std::string>& args,
                        Terminal& terminal, Interrupt& interrupt);

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_COMMAND_LINE_H_
