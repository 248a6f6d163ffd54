// A Decoder turns tokens back into text, as tokenizer.json's "decoder" says,
// and does so as a stream: text comes out as soon as no later token can change
// it. A whole decode is the same stream run to its end, so the two cannot
// differ.
//
// A Decoder is immutable and thread-safe; a Decoder::Stream serves one
// sequence.

#ifndef STOCKPOT_FORMATS_TOKENIZER_DECODER_H_
#define STOCKPOT_FORMATS_TOKENIZER_DECODER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"

#include "formats/tokenizer/token_steps.h"

namespace stockpot {

class Decoder {
 public:
  // Decodes one sequence. Not thread-safe. Borrows the Decoder.
  class Stream {
   public:
    virtual ~Stream() = default;
    // Appends to `out` the text that `token` makes final.
    virtual void Push(absl::string_view token, std::string& out) = 0;
    // Appends the rest. REQUIRES: no Push or Finish after it.
    virtual void Finish(std::string& out) = 0;
  };

  // Reads the component `json`; null gives one that puts a space between
  // tokens. `where` is its dotted path, for error messages.
  //
  // Supported: Sequence, ByteLevel, Replace, ByteFallback, Fuse, Strip,
  // Metaspace, BPEDecoder; behind Fuse or ByteLevel, which make one text of all
  // tokens, Replace of a string, Strip, Metaspace and Fuse.
  // Errors: InvalidArgument; another "type" is refused by its name.
  static absl::StatusOr<Decoder> FromJson(const nlohmann::json& json,
                                          absl::string_view where);

  std::unique_ptr<Stream> NewStream() const;

 private:
  enum class Join { kNone, kSpaces, kFuse, kByteLevel };

  absl::Status AddStep(const nlohmann::json& json, const std::string& where);
  absl::Status AddTextStep(const nlohmann::json& json, const std::string& type,
                           const std::string& where);

  // Tokens pass the token steps, are joined to one text, and that passes the
  // text steps.
  std::vector<TokenStepFactory> token_steps_;
  Join join_ = Join::kNone;
  std::vector<TextStepFactory> text_steps_;
};

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_TOKENIZER_DECODER_H_
