// `stockpot recipe save|import-soups|list|show|rm|alias`.

#ifndef STOCKPOT_CLIENT_COMMAND_RECIPES_H_
#define STOCKPOT_CLIENT_COMMAND_RECIPES_H_

#include <string>

#include "absl/status/status.h"

#include "proto/stockpot/v1/registry.pb.h"

#include "client/command_arguments.h"

namespace stockpot {

// Saves the recipe, points `alias` at it if that is not empty, and prints what
// it means. Errors: those of the calls; what is saved without its alias says
// so.
absl::Status SaveRecipe(const v1::SaveRecipeRequest& request,
                        const std::string& alias, bool as_json,
                        const Connection& connection, Terminal& terminal);

// Adds `recipe` and its commands. `may_ask`: somebody can answer.
void AddRecipeCommands(CLI::App& app, Arguments& arguments, bool may_ask);

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_COMMAND_RECIPES_H_
