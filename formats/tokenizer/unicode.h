// UTF-8 and the character classes of the Rust packages that tokenizer.json is
// defined by. All functions are pure and thread-safe.

#ifndef STOCKPOT_FORMATS_TOKENIZER_UNICODE_H_
#define STOCKPOT_FORMATS_TOKENIZER_UNICODE_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace stockpot {

// "\xEF\xBF\xBD", what broken bytes decode to.
inline constexpr char kReplacementCharacter[] = "\xEF\xBF\xBD";

// Errors: InvalidArgument names the offset of the first byte that is not part
// of well-formed UTF-8 (no surrogates, no overlong forms, at most U+10FFFF).
absl::Status ValidateUtf8(absl::string_view text);

// Reads the character at `*pos` and moves `*pos` behind it.
// REQUIRES: `text` is UTF-8 and `*pos` is on a character.
char32_t NextChar(absl::string_view text, size_t* pos);

// The first byte of the character that ends before `end`. REQUIRES: `text` is
// UTF-8 and `end` > 0 is on a character's border.
size_t PreviousCharStart(absl::string_view text, size_t end);

// Appends `c` as UTF-8. REQUIRES: `c` is a scalar value.
void AppendChar(char32_t c, std::string& out);

// The character class White_Space; Rust's char::is_whitespace and `\s`.
bool IsWhitespace(char32_t c);

// General category N; Rust's char::is_numeric.
bool IsNumeric(char32_t c);

// ASCII punctuation, or general category P.
bool IsPunctuation(char32_t c);

// Rust regex's `\w`: Alphabetic, marks, decimal digits, connectors, joiners.
bool IsWordCharacter(char32_t c);

// Rust's char::to_lowercase for every character. Needs no context, so a final
// sigma becomes "σ".
std::string Lowercase(absl::string_view text);

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

// O(n log n) in the worst case: a run of combining marks is sorted once.
// REQUIRES: `text` is UTF-8. Source: UAX #15.
std::string NormalizeUnicode(absl::string_view text, NormalForm form);

// Turns a stream of bytes into UTF-8; broken bytes become U+FFFD.
class LossyUtf8 {
 public:
  enum class Replace {
    kPerPart,  // One for each maximal broken part, as Rust's from_utf8_lossy.
    kPerByte,  // One for each broken byte, as SentencePiece.
  };

  explicit LossyUtf8(Replace replace) : replace_(replace) {}

  // Appends to `out` the characters that `bytes` completes.
  void Push(absl::string_view bytes, std::string& out);
  // Appends U+FFFD for the bytes of an unfinished character.
  void Finish(std::string& out);

 private:
  void PushByte(uint8_t byte, std::string& out);

  Replace replace_;
  std::string pending_;  // A proper prefix of one well-formed character.
  int num_missing_ = 0;  // Bytes that `pending_` still needs.
  uint8_t lo_ = 0x80;    // Bounds of the next byte.
  uint8_t hi_ = 0xBF;
};

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_TOKENIZER_UNICODE_H_
