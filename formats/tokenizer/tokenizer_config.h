// What tokenizer_config.json, special_tokens_map.json and added_tokens.json
// say beside the tokenizer itself.

#ifndef STOCKPOT_FORMATS_TOKENIZER_TOKENIZER_CONFIG_H_
#define STOCKPOT_FORMATS_TOKENIZER_TOKENIZER_CONFIG_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "nlohmann/json.hpp"

namespace stockpot {

struct TokenizerConfig {
  // Reads what is present in `dir`; an absent file says nothing.
  // Errors: InvalidArgument names the file and the field.
  static absl::StatusOr<TokenizerConfig> Load(const std::string& dir);

  // "tokenizer_class" without its "Fast"; empty when not said. Without it, the
  // class that "model_type" in config.json implies.
  std::string tokenizer_class;
  absl::optional<std::string> bos_token;
  absl::optional<std::string> eos_token;
  absl::optional<bool> add_bos_token;
  absl::optional<bool> add_eos_token;
  bool add_prefix_space = false;

  // The tokens of "added_tokens_decoder" and added_tokens.json, and the special
  // tokens that are only named, in the form of tokenizer.json's "added_tokens".
  // An entry that is only named has no "id".
  std::vector<nlohmann::json> added_tokens;
};

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_TOKENIZER_TOKENIZER_CONFIG_H_
