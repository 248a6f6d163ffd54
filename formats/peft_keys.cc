#include "formats/peft_keys.h"

#include <algorithm>
#include <array>

namespace stockpot {
namespace {

constexpr std::array kKnownKeys = {
    "alora_invocation_tokens",
    "alpha",
    "alpha_pattern",
    "arrow_config",
    "auto_mapping",
    "base_model_name_or_path",
    "beta1",
    "beta2",
    "bias",
    "corda_config",
    "d_initial",
    "decompose_both",
    "decompose_factor",
    "deltaT",
    "enable_lora",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "feedforward_modules",
    "inference_mode",
    "init_ia3_weights",
    "init_lora_weights",
    "init_r",
    "init_weights",
    "kasa_config",
    "layer_replication",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_alpha",
    "lora_bias",
    "lora_dropout",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "merge_weights",
    "mini_r",
    "miss_dropout",
    "module_dropout",
    "modules_to_save",
    "monteclora_config",
    "n_frequency",
    "n_frequency_pattern",
    "orth_reg_weight",
    "peft_type",
    "peft_version",
    "projection_prng_key",
    "qalora_group_size",
    "r",
    "random_loc_seed",
    "rank_dropout",
    "rank_dropout_scale",
    "rank_pattern",
    "revision",
    "runtime_config",
    "save_projection",
    "scaling",
    "target_modules",
    "target_parameters",
    "target_r",
    "task_type",
    "tfinal",
    "tinit",
    "token_indices",
    "total_step",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_effective_conv2d",
    "use_qalora",
    "use_rslora",
    "velora_config",
    "vera_dropout",
};

}  // namespace

bool IsKnownPeftKey(absl::string_view key) {
  return std::find(kKnownKeys.begin(), kKnownKeys.end(), key) !=
         kKnownKeys.end();
}

}  // namespace stockpot
