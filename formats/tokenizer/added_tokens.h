// The AddedTokens are found in the text before the model sees it: control
// tokens such as "<|im_end|>", and words added after training.
//
// Immutable and thread-safe.

#ifndef STOCKPOT_FORMATS_TOKENIZER_ADDED_TOKENS_H_
#define STOCKPOT_FORMATS_TOKENIZER_ADDED_TOKENS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"

#include "formats/tokenizer/normalizer.h"
#include "formats/tokenizer/token_trie.h"

namespace stockpot {

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool single_word = false;  // Only where no word character is beside it.
  bool lstrip = false;       // Takes the white space before it.
  bool rstrip = false;       // Takes the white space behind it.
  bool normalized = false;   // Is looked for in the normalized text.
  bool special = false;
  // `content`, or what the normalizer makes of it when `normalized`. This is
  // what is looked for, and what decoders get.
  std::string pattern;
};

class AddedTokens {
 public:
  // Bytes [begin, end) of a text; a token when `token` is not null.
  struct Segment {
    size_t begin = 0;
    size_t end = 0;
    const AddedToken* token = nullptr;
  };

  // Reads tokenizer.json's "added_tokens". `where` is its dotted path.
  // Errors: InvalidArgument names the entry and the field.
  static absl::StatusOr<AddedTokens> FromJson(const nlohmann::json& json,
                                              const Normalizer& normalizer,
                                              absl::string_view where);

  // Returns segments that cover `text` in order, none of them empty. Looks for
  // the tokens that are normalized, or for those that are not; leftmost first,
  // then longest. Special tokens are skipped unless `parse_special`.
  // The pointers live as long as this object.
  std::vector<Segment> Find(absl::string_view text, bool normalized,
                            bool parse_special) const;

  const std::vector<AddedToken>& tokens() const { return tokens_; }

 private:
  std::vector<AddedToken> tokens_;
  TokenTrie raw_;  // Values are indices of `tokens_`.
  TokenTrie normalized_;
};

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_TOKENIZER_ADDED_TOKENS_H_
