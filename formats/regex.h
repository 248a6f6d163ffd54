// A Regex is a stranger's pattern, compiled, with a bound on the steps that one
// match may take.
//
// Syntax is PCRE2's with Unicode classes, which reads the patterns that
// Python's `re` reads in practice. Immutable, cheap to copy, safe from many
// threads.

#ifndef STOCKPOT_FORMATS_REGEX_H_
#define STOCKPOT_FORMATS_REGEX_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stockpot {

class Regex {
 public:
  static constexpr size_t kMaxPatternBytes = 64 << 10;

  // Compiles `pattern`. A match may take `max_steps` backtracking steps.
  // Errors: InvalidArgument with the reason and the offset.
  static absl::StatusOr<Regex> Compile(absl::string_view pattern,
                                       uint32_t max_steps);

  // Python's re.fullmatch: the whole of `subject`, UTF-8, matches.
  // Errors: InvalidArgument when the steps are used up.
  absl::StatusOr<bool> FullMatch(absl::string_view subject) const;

  // Python's re.match: a prefix of `subject` matches. `group`, if not null,
  // receives what the group called `group_name` captured, empty when it took no
  // part.
  // Errors: as FullMatch.
  absl::StatusOr<bool> PrefixMatch(absl::string_view subject,
                                   const char* group_name = nullptr,
                                   std::string* group = nullptr) const;

 private:
  struct Code;

  Regex(std::shared_ptr<const Code> code, uint32_t max_steps)
      : code_(std::move(code)), max_steps_(max_steps) {}

  absl::StatusOr<bool> Match(absl::string_view subject, uint32_t options,
                             const char* group_name, std::string* group) const;

  std::shared_ptr<const Code> code_;
  uint32_t max_steps_;
};

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_REGEX_H_
