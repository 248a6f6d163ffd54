// Text that goes to a terminal or into a request. Pure functions.

#ifndef STOCKPOT_CLIENT_TEXT_H_
#define STOCKPOT_CLIENT_TEXT_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stockpot {

// `text` with control characters other than newline and tab replaced by
// U+FFFD, so that what a stranger uploaded, or made a model say, cannot drive
// the terminal. Bytes that are not UTF-8 are kept.
std::string PrintableText(absl::string_view text);

// Whether `text` is well-formed UTF-8: no overlong forms, no surrogates,
// nothing above U+10FFFF. Source: RFC 3629.
bool IsUtf8(absl::string_view text);

// Characters of `text`: its columns on a terminal, unless some are wide.
int CountCharacters(absl::string_view text);

// Understands \n, \t, \r and \\.
// Errors: InvalidArgument for any other escape.
absl::StatusOr<std::string> Unescape(absl::string_view text);

// `format` with its escapes resolved and its one "{}" replaced by `prompt`.
// Errors: InvalidArgument if "{}" does not stand there exactly once, or as
// Unescape().
absl::StatusOr<std::string> ApplyTemplate(absl::string_view format,
                                          absl::string_view prompt);

// Splits "key=value" at the first '='. Errors: InvalidArgument without an '='
// or with an empty key.
absl::StatusOr<std::pair<std::string, std::string>> ParseKeyValue(
    absl::string_view text);

// "312 B", "1.5 KiB", "26.0 MiB", "4.2 GiB".
std::string FormatBytes(uint64_t bytes);

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_TEXT_H_
