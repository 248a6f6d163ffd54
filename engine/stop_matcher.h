// A StopMatcher finds stop strings in text that arrives in pieces, also across
// the borders of tokens, and holds back what may still become one.
// Not thread-safe; one per sequence.

#ifndef STOCKPOT_ENGINE_STOP_MATCHER_H_
#define STOCKPOT_ENGINE_STOP_MATCHER_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace stockpot {

class StopMatcher {
 public:
  // REQUIRES: no string is empty.
  explicit StopMatcher(std::vector<std::string> stops);

  struct Result {
    std::string text;  // What can be shown now.
    bool stopped = false;
  };

  // Takes the next piece of text. When a stop string is complete, returns the
  // text before the first match and `stopped`; nothing may be pushed after.
  Result Push(absl::string_view text);

  // What was held back, once no more text comes. REQUIRES: not stopped.
  std::string Finish() { return std::move(held_); }

 private:
  std::vector<std::string> stops_;
  std::string held_;  // Ends in a proper prefix of a stop string, or is empty.
};

}  // namespace stockpot

#endif  // STOCKPOT_ENGINE_STOP_MATCHER_H_
