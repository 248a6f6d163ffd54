#include "formats/tokenizer/metaspace.h"

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "base/status_macros.h"
#include "formats/json.h"
#include "formats/quoted.h"
#include "formats/tokenizer/unicode.h"

namespace stockpot {

absl::StatusOr<Metaspace> Metaspace::FromJson(const nlohmann::json& json,
                                              absl::string_view where) {
  Metaspace metaspace;
  ASSIGN_OR_RETURN(metaspace.replacement,
                   GetString(json, "replacement", where));
  size_t end = 0;
  if (!metaspace.replacement.empty()) NextChar(metaspace.replacement, &end);
  if (end == 0 || end != metaspace.replacement.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ".replacement: expected one character"));
  }
  ASSIGN_OR_RETURN(const std::string scheme,
                   GetStringOr(json, "prepend_scheme", "always", where));
  if (scheme == "always") {
    metaspace.prepend = Prepend::kAlways;
  } else if (scheme == "first") {
    metaspace.prepend = Prepend::kFirst;
  } else if (scheme == "never") {
    metaspace.prepend = Prepend::kNever;
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ".prepend_scheme: ", Quoted(scheme),
                     " is none of always, first, never"));
  }
  ASSIGN_OR_RETURN(const bool add_prefix_space,
                   GetBoolOr(json, "add_prefix_space", true, where));
  if (!add_prefix_space) metaspace.prepend = Prepend::kNever;
  ASSIGN_OR_RETURN(metaspace.split, GetBoolOr(json, "split", true, where));
  return metaspace;
}

}  // namespace stockpot
