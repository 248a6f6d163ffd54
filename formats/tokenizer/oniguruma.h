// tokenizer.json holds regular expressions for Oniguruma; we match with PCRE2.
//
// Pure function, thread-safe.

#ifndef STOCKPOT_FORMATS_TOKENIZER_ONIGURUMA_H_
#define STOCKPOT_FORMATS_TOKENIZER_ONIGURUMA_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stockpot {

// Returns the PCRE2 pattern (for PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE) that
// matches what Oniguruma's default syntax matches with `pattern`.
//
// Where the two differ: `\s` (PCRE2 adds U+180E), `\w` (PCRE2 leaves out
// marks), `\h` (a hexadecimal digit here), `{,n}`, and `\p{..}` of characters
// newer than PCRE2's tables. Constructs whose meaning differs and which no
// known tokenizer uses are refused.
// Errors: InvalidArgument names the construct and its offset.
absl::StatusOr<std::string> PcreFromOniguruma(absl::string_view pattern);

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_TOKENIZER_ONIGURUMA_H_
