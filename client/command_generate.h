// `stockpot generate` and `stockpot tokenize`.

#ifndef STOCKPOT_CLIENT_COMMAND_GENERATE_H_
#define STOCKPOT_CLIENT_COMMAND_GENERATE_H_

#include <optional>
#include <string>

#include "absl/status/status.h"

#include "client/connection.h"
#include "client/generate_request.h"
#include "client/terminal.h"

namespace stockpot {

struct TokenizeOptions {
  std::optional<std::string> text;  // As GenerateOptions.prompt.
  bool parse_special_tokens = false;
  bool no_add_special_tokens = false;
  bool json = false;
};

absl::Status RunGenerate(const GenerateOptions& options,
                         const Connection& connection, Terminal& terminal);
absl::Status RunTokenize(const TokenizeOptions& options,
                         const Connection& connection, Terminal& terminal);

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_COMMAND_GENERATE_H_
