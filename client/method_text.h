// Composition methods as the command line writes them: --method ties
// --density 0.3. What there is to say comes from stockpot.v1.Recipe itself; the
// bounds of numbers are the server's.

#ifndef STOCKPOT_CLIENT_METHOD_TEXT_H_
#define STOCKPOT_CLIENT_METHOD_TEXT_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

#include "proto/stockpot/v1/recipe.pb.h"

namespace stockpot {

struct MethodWords {
  std::string method = {};  // "ties"; empty: none is set.
  // Fields of the method's message and their values: {"density", "0.3"},
  // {"space", "core"}, {"elect_signs", "true"}.
  std::vector<std::pair<std::string, std::string>> options = {};
  bool pico = false;

  bool empty() const { return method.empty() && options.empty() && !pico; }
};

// Sets the method of `recipe`.
//
// Errors: InvalidArgument if there is no such method, it has no such option, an
// option is given without a method, or a value cannot be read as its type.
absl::Status SetMethod(const MethodWords& words, v1::Recipe& recipe);

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_METHOD_TEXT_H_
