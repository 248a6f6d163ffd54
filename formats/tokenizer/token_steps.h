// The steps of a Decoder. A TokenStep turns tokens into tokens, a TextStep
// turns pieces of one text into pieces of one text. Both hold back what a later
// token may change.
//
// Not thread-safe: each sequence has its own. The factories are immutable and
// thread-safe.
// Source: the `tokenizers` package, decoders.

#ifndef STOCKPOT_FORMATS_TOKENIZER_TOKEN_STEPS_H_
#define STOCKPOT_FORMATS_TOKENIZER_TOKEN_STEPS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "formats/tokenizer/metaspace.h"
#include "formats/tokenizer/pattern.h"

namespace stockpot {

class TokenStep {
 public:
  virtual ~TokenStep() = default;
  // Appends to `out` the tokens that `token` makes final.
  virtual void Push(std::string token, std::vector<std::string>& out) = 0;
  virtual void Finish(std::vector<std::string>& out) = 0;
};

class TextStep {
 public:
  virtual ~TextStep() = default;
  // Appends to `out` the text that `text` makes final. Whole characters in,
  // whole characters out.
  virtual void Push(absl::string_view text, std::string& out) = 0;
  virtual void Finish(std::string& out) = 0;
};

using TokenStepFactory = std::function<std::unique_ptr<TokenStep>()>;
using TextStepFactory = std::function<std::unique_ptr<TextStep>()>;

// Up to `start` leading and `stop` trailing characters `content` are cut off.
struct StripSpec {
  std::string content;  // One character.
  int64_t start = 0;
  int64_t stop = 0;
};

// Each token's matches become `content`. A token on which the regex passes its
// limits stays as it is.
TokenStepFactory ReplaceTokens(Pattern pattern, std::string content);
// Tokens such as "<0x41>" become bytes. A run of them that is not UTF-8 becomes
// one U+FFFD for each, so a run is held back until it ends.
TokenStepFactory ByteFallbackTokens();
TokenStepFactory StripTokens(StripSpec spec);
// The first token loses its marks, unless nothing was prepended.
TokenStepFactory MetaspaceTokens(Metaspace metaspace);
// `suffix` becomes a space, and nothing in the last token.
TokenStepFactory SuffixTokens(std::string suffix);

// REQUIRES: `from` is not empty.
TextStepFactory ReplaceText(std::string from, std::string to);
TextStepFactory StripText(StripSpec spec);

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_TOKENIZER_TOKEN_STEPS_H_
