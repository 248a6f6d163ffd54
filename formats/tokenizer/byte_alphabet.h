// GPT-2's alphabet: each byte is written as one printable character, e.g. the
// space as "Ġ", so that a byte-level BPE can be kept in text files.
//
// Pure functions, thread-safe.
// Source: github.com/openai/gpt-2, src/encoder.py, bytes_to_unicode.

#ifndef STOCKPOT_FORMATS_TOKENIZER_BYTE_ALPHABET_H_
#define STOCKPOT_FORMATS_TOKENIZER_BYTE_ALPHABET_H_

#include <string>

#include "absl/strings/string_view.h"

namespace stockpot {

// Returns `bytes` written in the alphabet.
std::string ToByteAlphabet(absl::string_view bytes);

// Appends to `bytes` what `token` stands for. A token with a character from
// outside the alphabet stands for its own UTF-8.
void AppendFromByteAlphabet(absl::string_view token, std::string& bytes);

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_TOKENIZER_BYTE_ALPHABET_H_
