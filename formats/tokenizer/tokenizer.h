// A Tokenizer turns text into the base model's token ids and back.
//
// Immutable after Load: every method may be called from many threads at once.

#ifndef STOCKPOT_FORMATS_TOKENIZER_TOKENIZER_H_
#define STOCKPOT_FORMATS_TOKENIZER_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"

namespace stockpot {

// Turns the ids of one sequence into text, piece by piece. Not thread-safe.
// Borrows the tokenizer that made it. Callers use StreamDecoder
// (formats/tokenizer/stream_decoder.h); only tokenizers implement this.
class DecodeState {
 public:
  virtual ~DecodeState() = default;

  // Appends to `out` the text that `id` has made final: whole UTF-8 characters
  // which no later id can change. An id that names no token adds nothing.
  virtual void Push(int32_t id, std::string& out) = 0;

  // Appends the text still held back. REQUIRES: no Push or Finish after it.
  virtual void Finish(std::string& out) = 0;
};

class Tokenizer {
 public:
  struct EncodeOptions {
    // Adds what the post-processor adds, e.g. a leading BOS. The default is
    // that of the Python packages.
    bool add_special_tokens = true;
    // Whether the text of a special token, e.g. "<|im_end|>", becomes that
    // token. False by default: it is then encoded as ordinary text, so that a
    // stranger's text cannot forge a control token. Added tokens which are not
    // special are always recognised.
    bool parse_special_tokens = false;
  };

  virtual ~Tokenizer() = default;

  // Reads the tokenizer in `dir`: tokenizer.json if present, else
  // tokenizer.model (SentencePiece), else vocab.json with merges.txt, whose
  // rules are those of the "tokenizer_class" in tokenizer_config.json.
  // tokenizer_config.json and special_tokens_map.json are read when present.
  // The "truncation" and "padding" of tokenizer.json are not applied: they
  // describe training batches.
  //
  // Errors: NotFound when `dir` holds no tokenizer (names what was looked for);
  // InvalidArgument names the file and what in it is wrong; a component that is
  // not supported is refused by its "type", never ignored.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(
      const std::string& dir);

  // Returns the ids of `text`. Equal to tokenizers.Tokenizer.encode(), with
  // encode_special_tokens = !parse_special_tokens.
  //
  // Errors: InvalidArgument when `text` is not UTF-8 (names the byte offset) or
  // needs more regex work than the match limit allows.
  virtual absl::StatusOr<std::vector<int32_t>> Encode(
      absl::string_view text, const EncodeOptions& options) const = 0;

  // Returns the text of `ids`; with `skip_special`, special tokens give none.
  // Equal to tokenizers.Tokenizer.decode(ids, skip_special_tokens=...). Always
  // valid UTF-8: broken bytes become U+FFFD.
  //
  // Errors: InvalidArgument when an id is outside [0, vocab_size()) (names its
  // index).
  virtual absl::StatusOr<std::string> Decode(absl::Span<const int32_t> ids,
                                             bool skip_special) const = 0;

  // Returns the state for decoding one sequence. Borrows this tokenizer.
  virtual std::unique_ptr<DecodeState> NewDecodeState(
      bool skip_special) const = 0;

  // The largest id plus one, added tokens included. A model's embedding may
  // have more rows, never fewer.
  virtual int32_t vocab_size() const = 0;

  // The id of the token that is written exactly `token` in the vocabulary.
  virtual absl::optional<int32_t> TokenToId(absl::string_view token) const = 0;

  // How the vocabulary writes `id`, e.g. "Ġworld"; unset when there is none.
  virtual absl::optional<std::string> IdToToken(int32_t id) const = 0;

  // Whether `id` is a special (control) token. False when out of range.
  virtual bool IsSpecial(int32_t id) const = 0;

  // The tokens that begin and end a text, where tokenizer_config.json,
  // special_tokens_map.json or tokenizer.model names them.
  virtual absl::optional<int32_t> bos_id() const = 0;
  virtual absl::optional<int32_t> eos_id() const = 0;
};

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_TOKENIZER_TOKENIZER_H_
