#include "formats/tokenizer/split_behavior.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "formats/quoted.h"

namespace stockpot {
namespace {

// Joins a span with the one before it whenever `joins(span, previous)`, both
// flags of is_match.
template <typename Joins>
std::vector<MatchSpan> JoinSpans(const std::vector<MatchSpan>& matches,
                                 Joins joins) {
  std::vector<MatchSpan> out;
  bool previous = false;
  for (const MatchSpan& span : matches) {
    if (!out.empty() && joins(span.is_match, previous)) {
      out.back().begin = std::min(out.back().begin, span.begin);
      out.back().end = std::max(out.back().end, span.end);
    } else {
      out.push_back({span.begin, span.end, false});
    }
    previous = span.is_match;
  }
  return out;
}

}  // namespace

absl::StatusOr<SplitBehavior> ParseSplitBehavior(absl::string_view name,
                                                 absl::string_view where) {
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return absl::InvalidArgumentError(absl::StrCat(
      where, ".behavior: ", Quoted(name),
      " is none of Removed, Isolated, MergedWithPrevious, MergedWithNext, "
      "Contiguous"));
}

std::vector<MatchSpan> ApplySplitBehavior(std::vector<MatchSpan> matches,
                                          SplitBehavior behavior) {
  const auto delimiter_after_text = [](bool is_match, bool previous) {
    return is_match && !previous;
  };
  switch (behavior) {
    case SplitBehavior::kIsolated:
      break;
    case SplitBehavior::kRemoved:
      matches.erase(
          std::remove_if(matches.begin(), matches.end(),
                         [](const MatchSpan& s) { return s.is_match; }),
          matches.end());
      break;
    case SplitBehavior::kContiguous:
      return JoinSpans(matches, [](bool is_match, bool previous) {
        return is_match == previous;
      });
    case SplitBehavior::kMergedWithPrevious:
      return JoinSpans(matches, delimiter_after_text);
    case SplitBehavior::kMergedWithNext: {
      std::reverse(matches.begin(), matches.end());
      std::vector<MatchSpan> out = JoinSpans(matches, delimiter_after_text);
      std::reverse(out.begin(), out.end());
      return out;
    }
  }
  return matches;
}

}  // namespace stockpot
