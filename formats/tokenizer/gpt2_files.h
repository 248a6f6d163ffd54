// Directories of the GPT-2 kind hold vocab.json and merges.txt and leave the
// rest to the tokenizer's class.

#ifndef STOCKPOT_FORMATS_TOKENIZER_GPT2_FILES_H_
#define STOCKPOT_FORMATS_TOKENIZER_GPT2_FILES_H_

#include <string>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

#include "formats/tokenizer/tokenizer_config.h"

namespace stockpot {

// Returns the tokenizer.json that `dir`/vocab.json, `dir`/merges.txt and
// `config` amount to, for the classes GPT2Tokenizer and Qwen2Tokenizer.
// Errors: NotFound when a file is missing; InvalidArgument names the file and
// what in it is wrong; another class is refused by its name.
absl::StatusOr<nlohmann::json> ReadGpt2Files(const std::string& dir,
                                             const TokenizerConfig& config);

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_TOKENIZER_GPT2_FILES_H_
