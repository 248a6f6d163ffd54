// What a PEFT config says about the two ends of a model, the embedding and the
// head over the vocabulary, beside targeting them as any other module.

#ifndef STOCKPOT_FORMATS_END_OPTIONS_H_
#define STOCKPOT_FORMATS_END_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"

namespace stockpot {

// Tokens whose rows of one module the adapter replaces.
struct TrainedTokens {
  // The end of the module's path; empty: the embedding.
  std::string module;
  // In the order of the tensor's rows; at least one, each once, not negative.
  std::vector<int64_t> tokens;
};

struct EndOptions {
  static constexpr size_t kMaxTokens = 65536;

  // Ends of the paths of modules whose whole weight the adapter replaces.
  std::vector<std::string> modules_to_save;
  // Of TRAINABLE_TOKENS one entry, of the modules that the config targets.
  std::vector<TrainedTokens> trained_tokens;
  // Of a model whose head is its embedding: what adapts the one adapts the
  // other. PEFT then saves the tensors of both and names only the embedding.
  bool ensure_weight_tying = false;
};

// Reads "modules_to_save", "trainable_token_indices" and "ensure_weight_tying";
// of TRAINABLE_TOKENS "token_indices" instead.
// Source: peft/utils/other.py, set_additional_trainable_modules, and
// peft/tuners/trainable_tokens/config.py (PEFT 0.21).
//
// Errors: InvalidArgument, which names the field; Unimplemented for a module to
// save that is neither an embedding nor a head.
absl::StatusOr<EndOptions> ReadEndOptions(const nlohmann::ordered_json& root);

// True if PEFT means the module `path` by `name`: the path ends with it, be it
// within a segment.
bool EndsPath(absl::string_view path, absl::string_view name);

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_END_OPTIONS_H_
