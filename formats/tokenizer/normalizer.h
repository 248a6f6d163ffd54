// A Normalizer rewrites text before it is split, as tokenizer.json's
// "normalizer" says.
//
// Immutable and thread-safe.

#ifndef STOCKPOT_FORMATS_TOKENIZER_NORMALIZER_H_
#define STOCKPOT_FORMATS_TOKENIZER_NORMALIZER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"

namespace stockpot {

class Normalizer {
 public:
  virtual ~Normalizer() = default;

  // Reads the component `json`; null gives one that changes nothing. `where`
  // is its dotted path, for error messages.
  //
  // Supported: Sequence, NFC, NFD, NFKC, NFKD, Lowercase, Prepend, Replace,
  // Strip, ByteLevel.
  // Errors: InvalidArgument; another "type" is refused by its name.
  static absl::StatusOr<std::unique_ptr<Normalizer>> FromJson(
      const nlohmann::json& json, absl::string_view where);

  // Returns the normalized form of `text`, which is UTF-8, as UTF-8.
  // Errors: InvalidArgument when a regex passes its limits.
  virtual absl::StatusOr<std::string> Normalize(std::string text) const = 0;
};

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_TOKENIZER_NORMALIZER_H_
