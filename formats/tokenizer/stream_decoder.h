// A StreamDecoder turns the ids of one sequence into text as they are made.
//
// Not thread-safe: one per sequence.

#ifndef STOCKPOT_FORMATS_TOKENIZER_STREAM_DECODER_H_
#define STOCKPOT_FORMATS_TOKENIZER_STREAM_DECODER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "formats/tokenizer/tokenizer.h"

namespace stockpot {

class StreamDecoder {
 public:
  // Borrows `tokenizer`, which must outlive this. With `skip_special`, special
  // tokens give no text.
  StreamDecoder(const Tokenizer& tokenizer, bool skip_special)
      : state_(tokenizer.NewDecodeState(skip_special)) {}

  // Returns the text that has become final with `id`, possibly empty: whole
  // UTF-8 characters, never half of one. Amortised constant time in the number
  // of ids pushed before. An id that names no token (a model's embedding may
  // have more rows than the vocabulary) gives no text.
  //
  // A run of byte-fallback tokens is held back until it ends, because one
  // broken byte changes the text of its whole run.
  std::string Push(int32_t id) {
    std::string text;
    state_->Push(id, text);
    return text;
  }

  // Returns the rest. What Push and Finish returned, concatenated, equals
  // Tokenizer::Decode of all ids. REQUIRES: no Push or Finish after it.
  std::string Finish() {
    std::string text;
    state_->Finish(text);
    return text;
  }

 private:
  std::unique_ptr<DecodeState> state_;
};

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_TOKENIZER_STREAM_DECODER_H_
