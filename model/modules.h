// The linear layers of a base model that an adapter may change, in one fixed
// order: the index of a module is its identity everywhere above model/.

#ifndef STOCKPOT_MODEL_MODULES_H_
#define STOCKPOT_MODEL_MODULES_H_

#include <cstdint>
#include <vector>

#include "formats/adapter_layout.h"
#include "formats/model_config.h"

namespace stockpot {

// Modules of one decoder layer, in the order of their indices.
struct LlamaModule {
  enum Index { kQ, kK, kV, kO, kGate, kUp, kDown, kCount };
};
struct Gpt2Module {
  enum Index { kAttention, kAttentionOut, kFc, kFcOut, kCount };
};

// Layer by layer in the order above, then the output head. Paths are those of
// transformers, as in "model.layers.0.self_attn.q_proj"; PEFT puts
// "base_model.model." before them.
std::vector<BaseModule> ModulesOf(const ModelConfig& config);

}  // namespace stockpot

#endif  // STOCKPOT_MODEL_MODULES_H_
