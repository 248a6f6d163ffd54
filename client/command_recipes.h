// `stockpot recipe save|list|show|rm|alias`.

#ifndef STOCKPOT_CLIENT_COMMAND_RECIPES_H_
#define STOCKPOT_CLIENT_COMMAND_RECIPES_H_

#include "client/command_arguments.h"

namespace stockpot {

// Adds `recipe` and its commands. `may_ask`: somebody can answer.
void AddRecipeCommands(CLI::App& app, Arguments& arguments, bool may_ask);

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_COMMAND_RECIPES_H_
