// What becomes of the delimiters when a text is split.
//
// Pure functions, thread-safe.
// Source: the `tokenizers` package, SplitDelimiterBehavior.

#ifndef STOCKPOT_FORMATS_TOKENIZER_SPLIT_BEHAVIOR_H_
#define STOCKPOT_FORMATS_TOKENIZER_SPLIT_BEHAVIOR_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "formats/tokenizer/pattern.h"

namespace stockpot {

enum class SplitBehavior {
  kRemoved,
  kIsolated,
  kMergedWithPrevious,
  kMergedWithNext,
  kContiguous,
};

// Reads "Removed", "Isolated", "MergedWithPrevious", "MergedWithNext" or
// "Contiguous". Errors: InvalidArgument names `where` and the value.
absl::StatusOr<SplitBehavior> ParseSplitBehavior(absl::string_view name,
                                                 absl::string_view where);

// Returns the parts that `matches`, which cover a text in order, are split
// into. Spans that were removed are left out; the others have is_match false.
std::vector<MatchSpan> ApplySplitBehavior(std::vector<MatchSpan> matches,
                                          SplitBehavior behavior);

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_TOKENIZER_SPLIT_BEHAVIOR_H_
