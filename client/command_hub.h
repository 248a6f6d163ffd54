// `stockpot hub backup|verify|restore`: the registry as a whole.

#ifndef STOCKPOT_CLIENT_COMMAND_HUB_H_
#define STOCKPOT_CLIENT_COMMAND_HUB_H_

#include "client/command_arguments.h"

namespace stockpot {

// Adds `hub` and its commands.
void AddHubCommands(CLI::App& app, Arguments& arguments);

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_COMMAND_HUB_H_
