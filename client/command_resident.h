// `stockpot resident list|warm|pin|unpin`.

#ifndef STOCKPOT_CLIENT_COMMAND_RESIDENT_H_
#define STOCKPOT_CLIENT_COMMAND_RESIDENT_H_

#include "client/command_arguments.h"

namespace stockpot {

// Adds `resident` and its commands.
void AddResidentCommands(CLI::App& app, Arguments& arguments);

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_COMMAND_RESIDENT_H_
