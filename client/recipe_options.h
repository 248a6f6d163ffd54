// The command line's options that write out a recipe.

#ifndef STOCKPOT_CLIENT_RECIPE_OPTIONS_H_
#define STOCKPOT_CLIENT_RECIPE_OPTIONS_H_

#include "client/command_arguments.h"
#include "client/generate_request.h"

namespace stockpot {

// Adds --recipe, --skill, ... and those of the method, --method, --density,
// ....
void AddRecipeOptions(CLI::App* command, GenerateOptions& options);

// Adds --saved-recipe beside them.
void AddSavedRecipeOption(CLI::App* command, GenerateOptions& options);

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_RECIPE_OPTIONS_H_
