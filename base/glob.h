// Globs over dotted module paths, as in "model.layers.*.mlp.*" or
// "model.layers.{0,1,2}.self_attn.q_proj".
//
//   *      any run of characters without a dot
//   **     any run of characters
//   ?      one character other than a dot
//   {a,b}  one of the alternatives; may hold * and ?, may not nest
//
// Every other character stands for itself. Immutable, thread-safe.

#ifndef STOCKPOT_BASE_GLOB_H_
#define STOCKPOT_BASE_GLOB_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stockpot {

class Glob {
 public:
  static constexpr size_t kMaxBytes = 256;
  static constexpr size_t kMaxAlternatives = 256;

  // Errors: InvalidArgument if `pattern` is empty, longer than kMaxBytes, has
  // an unbalanced or nested brace, or expands to over kMaxAlternatives.
  static absl::StatusOr<Glob> Parse(absl::string_view pattern);

  // Takes O(|path| * expanded_bytes()) whatever the pattern: no backtracking.
  bool Matches(absl::string_view path) const;

  // Bytes of all alternatives: what Matches() costs per byte of a path. Callers
  // that take many patterns from strangers bound the sum.
  size_t expanded_bytes() const;

 private:
  std::vector<std::string> alternatives_;  // Without braces.
};

}  // namespace stockpot

#endif  // STOCKPOT_BASE_GLOB_H_
