// A Charsmap is SentencePiece's precompiled normalization table: a trie of
// character sequences and what each becomes.
//
// Immutable and thread-safe.
// Source: github.com/google/sentencepiece, src/normalizer.cc; the trie is a
// darts-clone double array.

#ifndef STOCKPOT_FORMATS_TOKENIZER_CHARSMAP_H_
#define STOCKPOT_FORMATS_TOKENIZER_CHARSMAP_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stockpot {

class Charsmap {
 public:
  // What the longest entry at the beginning of a text becomes.
  struct Match {
    size_t length = 0;  // Bytes of the text; 0: no entry.
    absl::string_view replacement;
  };

  // Maps nothing.
  Charsmap() = default;

  // Reads a "precompiled_charsmap"; empty bytes map nothing.
  // Errors: InvalidArgument.
  static absl::StatusOr<Charsmap> Parse(absl::string_view bytes);

  Match Longest(absl::string_view text) const;

 private:
  std::vector<uint32_t> units_;
  std::string replacements_;  // Each ends with a NUL.
};

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_TOKENIZER_CHARSMAP_H_
