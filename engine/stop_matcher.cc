#include "engine/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace stockpot {

namespace {

// Bytes at the end of `text` that begin `stop` without completing it.
size_t PartialMatch(absl::string_view text, absl::string_view stop) {
  for (size_t n = std::min(text.size(), stop.size() - 1); n > 0; --n) {
    if (text.substr(text.size() - n) == stop.substr(0, n)) {
      return n;
    }
  }
  return 0;
}

}  // namespace

StopMatcher::StopMatcher(std::vector<std::string> stops)
    : stops_(std::move(stops)) {}

StopMatcher::Result StopMatcher::Push(absl::string_view text) {
  held_.append(text.data(), text.size());
  size_t first = std::string::npos;
  size_t hold = 0;
  for (const std::string& stop : stops_) {
    first = std::min(first, held_.find(stop));
    hold = std::max(hold, PartialMatch(held_, stop));
  }
  Result result;
  if (first != std::string::npos) {
    result.text = held_.substr(0, first);
    result.stopped = true;
    return result;
  }
  result.text = held_.substr(0, held_.size() - hold);
  // What is held begins where a stop string may begin, so at a whole character.
  held_.erase(0, held_.size() - hold);
  return result;
}

}  // namespace stockpot
