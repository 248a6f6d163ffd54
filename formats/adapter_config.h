// AdapterConfig is a PEFT adapter_config.json of a kind that is served: which
// modules it adapts, with what rank, and how strongly.
//
// Immutable after Parse, cheap to copy, safe to read from many threads. What a
// file asks for and we cannot honour exactly is an error that names the field.
// Source: peft/tuners/lora/config.py, tuners_utils.check_target_module_exists
// and utils/other.get_pattern_key (PEFT 0.21).

#ifndef STOCKPOT_FORMATS_ADAPTER_CONFIG_H_
#define STOCKPOT_FORMATS_ADAPTER_CONFIG_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"

#include "formats/adapter_kind.h"
#include "formats/adapter_kind_options.h"
#include "formats/end_options.h"
#include "formats/regex.h"

namespace stockpot {

class AdapterConfig {
 public:
  static constexpr size_t kMaxFileBytes = 256 << 10;
  static constexpr int64_t kMaxRank = 512;  // What merges give, and exports.
  static constexpr double kMaxScaling = 1e4;
  static constexpr double kMaxAlpha = 1e8;

  // Parses the text of an adapter_config.json.
  //
  // Errors: InvalidArgument for broken JSON, a file that is not PEFT's (it
  // lacks "peft_type"), a value of the wrong type or out of bounds, or a bad
  // regex. Unimplemented, one sentence each, for what changes the mathematics
  // and is not built: another peft_type, fully trained modules other than
  // embedding and head, initialisations that change the base weights, ....
  static absl::StatusOr<AdapterConfig> Parse(absl::string_view text);

  const AdapterKindOptions& kind_options() const { return kind_options_; }
  AdapterKind kind() const { return kind_options_.kind; }
  const EndOptions& end_options() const { return end_options_; }
  // The rank and alpha where no pattern says otherwise; 0 for kinds without.
  // Of AdaLoRA, the rank that training began with.
  int64_t r() const { return r_; }
  double lora_alpha() const { return lora_alpha_; }
  bool use_rslora() const { return use_rslora_; }
  // True for GPT-2's Conv1D. The factors' shapes do not depend on it.
  bool fan_in_fan_out() const { return fan_in_fan_out_; }
  // Empty when the file does not say.
  const std::string& base_model_name_or_path() const { return base_model_; }
  const std::string& task_type() const { return task_type_; }
  // As written, for people to read: names, or one regex.
  const std::vector<std::string>& target_modules() const {
    return targets_.names;
  }
  // Top-level keys that no known version of PEFT writes, in the file's order.
  const std::vector<std::string>& unknown_keys() const { return unknown_keys_; }

  // The rank that the file states for a module: that of the first key of
  // rank_pattern that matches `module_path`, or r.
  // Errors: InvalidArgument for a regex that needs too many steps.
  absl::StatusOr<int64_t> Rank(absl::string_view module_path) const;

  // The factor s that multiplies the update of the module `module_path` of the
  // base model (e.g. "model.layers.0.self_attn.q_proj") whose tensors have the
  // inner size `tensor_rank` (lora_A's rows).
  //
  // LORA, LOHA, LOKR: alpha / r, or alpha / sqrt(r) with use_rslora, where
  // alpha is that of the first matching key of alpha_pattern, or lora_alpha.
  // ADALORA: alpha / (r + 1e-5), or r for an alpha that is not positive; r is
  // the initial rank, whatever `tensor_rank` was left. FOURIERFT: "scaling".
  // Others: 1.
  //
  // REQUIRES: tensor_rank >= 1.
  // Errors: InvalidArgument when `tensor_rank` is not Rank(module_path) (of
  // AdaLoRA: exceeds it), for a factor beyond kMaxScaling, and as Rank.
  absl::StatusOr<double> Scaling(absl::string_view module_path,
                                 int64_t tensor_rank) const;

  // True if PEFT would adapt the module `module_path`. `is_end` says that it is
  // the embedding or the head over the vocabulary, which "all-linear" leaves
  // out.
  // Errors: InvalidArgument for a regex that needs too many steps.
  absl::StatusOr<bool> Targets(absl::string_view module_path,
                               bool is_end) const;

 private:
  // A list of names (exact, or a dotted suffix) or one regex (whole match).
  struct ModuleSet {
    std::vector<std::string> names;
    std::optional<Regex> regex;
    bool is_all_linear = false;
  };
  // One key of rank_pattern or alpha_pattern; order matters.
  struct PatternValue {
    std::string key;
    // Unset for a key of plain characters and dots, which needs no engine.
    std::optional<Regex> regex;
    double value = 0;
  };

  AdapterConfig() = default;

  absl::Status ReadStrength(const nlohmann::ordered_json& root);
  absl::Status ReadScalars(const nlohmann::ordered_json& root);
  absl::Status ReadLayerFilter(const nlohmann::ordered_json& root);
  absl::StatusOr<bool> PassesLayerFilter(absl::string_view module_path) const;

  static absl::StatusOr<ModuleSet> ReadModuleSet(
      const nlohmann::ordered_json& root, const char* key);
  static absl::StatusOr<std::vector<PatternValue>> ReadPattern(
      const nlohmann::ordered_json& root, const char* key, double max_value,
      bool integers_only);
  absl::Status CheckRank(absl::string_view module_path,
                         int64_t tensor_rank) const;
  static absl::StatusOr<bool> Matches(const ModuleSet& set,
                                      absl::string_view module_path);
  static absl::StatusOr<double> Lookup(const std::vector<PatternValue>& pattern,
                                       absl::string_view module_path,
                                       double fallback);

  AdapterKindOptions kind_options_;
  EndOptions end_options_;
  int64_t r_ = 0;
  double lora_alpha_ = 0;
  bool use_rslora_ = false;
  bool fan_in_fan_out_ = false;
  std::string base_model_;
  std::string task_type_;
  ModuleSet targets_;
  ModuleSet excludes_;
  std::vector<PatternValue> rank_pattern_;
  std::vector<PatternValue> alpha_pattern_;
  // Empty: every layer.
  std::vector<int64_t> layers_to_transform_;
  std::vector<Regex> layer_regexes_;
  std::vector<std::string> unknown_keys_;
};

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_ADAPTER_CONFIG_H_
