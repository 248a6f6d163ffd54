// `stockpot recipe import-soups`.

#ifndef STOCKPOT_CLIENT_COMMAND_SOUPS_H_
#define STOCKPOT_CLIENT_COMMAND_SOUPS_H_

#include "client/command_arguments.h"

namespace stockpot {

// Adds the command to those of `recipe`.
void AddImportSoups(CLI::App& recipes, Arguments& arguments);

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_COMMAND_SOUPS_H_
