#include "formats/lora_config_writer.h"

#include <algorithm>
#include <map>

#include "nlohmann/json.hpp"

namespace stockpot {

namespace {

// What most modules have; the rest goes into patterns.
int64_t CommonRank(absl::Span<const LoraModuleRank> modules) {
  std::map<int64_t, int64_t> count;
  for (const LoraModuleRank& module : modules) {
    ++count[module.rank];
  }
  return std::max_element(
             count.begin(), count.end(),
             [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

}  // namespace

std::string WriteLoraConfig(absl::Span<const LoraModuleRank> modules,
                            const LoraRows& rows, const std::string& base_model,
                            bool fan_in_fan_out) {
  const int64_t rank = CommonRank(modules);
  nlohmann::ordered_json targets = nlohmann::ordered_json::array();
  nlohmann::ordered_json ranks = nlohmann::ordered_json::object();
  for (const LoraModuleRank& module : modules) {
    targets.push_back(module.path);
    if (module.rank != rank) {
      // PEFT takes the key for a regular expression that the end of a path
      // matches; a full path matches itself, its dots included.
      ranks[module.path] = module.rank;
    }
  }
  nlohmann::ordered_json config = {{"peft_type", "LORA"},
                                   {"task_type", "CAUSAL_LM"},
                                   {"base_model_name_or_path", base_model},
                                   {"r", rank},
                                   {"lora_alpha", rank},
                                   {"rank_pattern", ranks},
                                   {"alpha_pattern", ranks},
                                   {"target_modules", targets},
                                   {"use_rslora", false},
                                   {"use_dora", false},
                                   {"lora_dropout", 0.0},
                                   {"bias", "none"},
                                   {"fan_in_fan_out", fan_in_fan_out},
                                   {"init_lora_weights", true},
                                   {"inference_mode", true}};
  if (!rows.saved.empty()) {
    config["modules_to_save"] = rows.saved;
  }
  for (const auto& [path, tokens] : rows.tokens) {
    config["trainable_token_indices"][path] = tokens;
  }
  return config.dump(2) + "\n";
}

}  // namespace stockpot
