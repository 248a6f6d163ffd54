// A Pattern finds its matches in a text: a literal string or a regular
// expression of tokenizer.json.
//
// Immutable, cheap to copy, safe from many threads.

#ifndef STOCKPOT_FORMATS_TOKENIZER_PATTERN_H_
#define STOCKPOT_FORMATS_TOKENIZER_PATTERN_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"

namespace stockpot {

// Bytes [begin, end) of a text, and whether the pattern matched them.
struct MatchSpan {
  uint32_t begin = 0;
  uint32_t end = 0;
  bool is_match = false;
};

class Pattern {
 public:
  static constexpr size_t kMaxPatternBytes = 64 << 10;

  // Reads {"String": ".."} or {"Regex": ".."}. `where` names it in errors.
  // Errors: InvalidArgument.
  static absl::StatusOr<Pattern> FromJson(const nlohmann::json& json,
                                          absl::string_view where);

  // REQUIRES: `text` is not empty.
  static Pattern Literal(absl::string_view text);

  // `regex` is in Oniguruma's default syntax.
  // Errors: InvalidArgument: not a regex, or a construct that is not supported.
  static absl::StatusOr<Pattern> Regex(absl::string_view regex);

  // Returns spans that cover `text` in order: its matches, leftmost first and
  // not overlapping, and what lies between. An empty match is a span of no
  // bytes. REQUIRES: `text` is UTF-8 of less than 4 GiB.
  //
  // Errors: InvalidArgument when the match needs more steps or memory than the
  // limits allow.
  absl::StatusOr<std::vector<MatchSpan>> FindMatches(
      absl::string_view text) const;

  // The string of a literal; empty for a regex.
  const std::string& literal() const { return literal_; }

 private:
  struct Code;

  absl::StatusOr<std::vector<MatchSpan>> FindRegex(
      absl::string_view text) const;

  std::string literal_;
  std::shared_ptr<const Code> code_;
};

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_TOKENIZER_PATTERN_H_
