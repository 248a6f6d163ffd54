// The characters that Unicode 15.0 to 16.0 added. The `tokenizers` package
// knows them; Debian 12's PCRE2 10.42 and utf8proc 2.8 end at Unicode 14.

#ifndef STOCKPOT_FORMATS_TOKENIZER_UNICODE_ADDITIONS_H_
#define STOCKPOT_FORMATS_TOKENIZER_UNICODE_ADDITIONS_H_

#include <string>

#include "absl/strings/string_view.h"

namespace stockpot {

// Whether `c` was added and its general category begins with `category`, e.g.
// "L" or "Lu".
bool IsAddition(char32_t c, absl::string_view category);

// The added characters of `category` as the inside of a PCRE2 character class,
// e.g. "\x{1C89}-\x{1C89}". `category` may also be "Han". Empty when there are
// none.
std::string AdditionsAsClass(absl::string_view category);

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_TOKENIZER_UNICODE_ADDITIONS_H_
