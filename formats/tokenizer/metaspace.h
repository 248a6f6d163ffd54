// The settings that the Metaspace pre-tokenizer and decoder share.

#ifndef STOCKPOT_FORMATS_TOKENIZER_METASPACE_H_
#define STOCKPOT_FORMATS_TOKENIZER_METASPACE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"

namespace stockpot {

struct Metaspace {
  enum class Prepend { kAlways, kFirst, kNever };

  // Errors: InvalidArgument names the field below `where`.
  static absl::StatusOr<Metaspace> FromJson(const nlohmann::json& json,
                                            absl::string_view where);

  std::string replacement;  // One character, in place of each space.
  Prepend prepend = Prepend::kAlways;
  bool split = true;
};

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_TOKENIZER_METASPACE_H_
