// A PostProcessor puts special tokens around the ids of a text, as
// tokenizer.json's "post_processor" says for a single sequence.
//
// Immutable and thread-safe.

#ifndef STOCKPOT_FORMATS_TOKENIZER_POST_PROCESSOR_H_
#define STOCKPOT_FORMATS_TOKENIZER_POST_PROCESSOR_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"

namespace stockpot {

struct PostProcessor {
  // Reads the component `json`; null gives one that adds nothing. `where` is
  // its dotted path, for error messages.
  //
  // Supported: TemplateProcessing, ByteLevel (which moves offsets only),
  // BertProcessing, RobertaProcessing, Sequence.
  // Errors: InvalidArgument; another "type" is refused by its name.
  static absl::StatusOr<PostProcessor> FromJson(const nlohmann::json& json,
                                                absl::string_view where);

  std::vector<int32_t> prefix;
  std::vector<int32_t> suffix;
};

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_TOKENIZER_POST_PROCESSOR_H_
