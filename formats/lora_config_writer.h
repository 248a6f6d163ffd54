// Writes the adapter_config.json of a plain LoRA adapter, as PEFT reads it.

#ifndef STOCKPOT_FORMATS_LORA_CONFIG_WRITER_H_
#define STOCKPOT_FORMATS_LORA_CONFIG_WRITER_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"

namespace stockpot {

struct LoraModuleRank {
  std::string path;  // "model.layers.0.self_attn.q_proj"
  int64_t rank = 0;
};

// Rows of embedding and head that the adapter holds itself.
struct LoraRows {
  // Paths of modules whose whole weight is in the file: "modules_to_save".
  std::vector<std::string> saved;
  // By path, the tokens whose rows are in the file: "trainable_token_indices".
  std::vector<std::pair<std::string, std::vector<int64_t>>> tokens;
};

// A config under which every module's scaling is exactly 1: alpha equals the
// rank, per module where ranks differ. Modules are named in full, so that none
// but these is adapted. `fan_in_fan_out` for GPT-2's Conv1D.
// REQUIRES: at least one module: PEFT opens no LoRA without.
std::string WriteLoraConfig(absl::Span<const LoraModuleRank> modules,
                            const LoraRows& rows, const std::string& base_model,
                            bool fan_in_fan_out);

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_LORA_CONFIG_WRITER_H_
