// Quoted() makes a stranger's bytes fit for an error message.

#ifndef STOCKPOT_FORMATS_QUOTED_H_
#define STOCKPOT_FORMATS_QUOTED_H_

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace stockpot {

// Returns `text` between double quotes, control characters and bytes that are
// not ASCII escaped, cut to its first `max_bytes` bytes with "..." when longer.
inline std::string Quoted(absl::string_view text, size_t max_bytes = 128) {
  const bool is_cut = text.size() > max_bytes;
  return absl::StrCat("\"", absl::CEscape(text.substr(0, max_bytes)),
                      is_cut ? "...\"" : "\"");
}

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_QUOTED_H_
