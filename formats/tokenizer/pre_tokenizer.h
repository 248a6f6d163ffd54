// A PreTokenizer splits normalized text into the words that the model encodes
// one by one, as tokenizer.json's "pre_tokenizer" says.
//
// Immutable and thread-safe.

#ifndef STOCKPOT_FORMATS_TOKENIZER_PRE_TOKENIZER_H_
#define STOCKPOT_FORMATS_TOKENIZER_PRE_TOKENIZER_H_

#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"

namespace stockpot {

// Bytes of UTF-8 text on their way to the model.
struct Piece {
  absl::string_view text;
  // Whether the piece begins where the caller's text begins.
  bool is_first = false;
};

class PreTokenizer {
 public:
  // Takes one piece, which is valid during the call only.
  using Sink = absl::FunctionRef<absl::Status(const Piece&)>;

  virtual ~PreTokenizer() = default;

  // Reads the component `json`; null gives one that does not split. `where` is
  // its dotted path, for error messages.
  //
  // Supported: Sequence, ByteLevel, Split, Digits, Whitespace, WhitespaceSplit,
  // Punctuation, Metaspace.
  // Errors: InvalidArgument; another "type" is refused by its name.
  static absl::StatusOr<std::unique_ptr<PreTokenizer>> FromJson(
      const nlohmann::json& json, absl::string_view where);

  // Gives the pieces of `piece` to `sink`, in order, none of them empty.
  // Errors: the sink's; InvalidArgument when a regex passes its limits.
  virtual absl::Status Split(const Piece& piece, Sink sink) const = 0;
};

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_TOKENIZER_PRE_TOKENIZER_H_
