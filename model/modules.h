// The linear layers of a base model that an adapter may change, its embedding
// among them, in one fixed order: the index of a module is its identity
// everywhere above model/.

#ifndef STOCKPOT_MODEL_MODULES_H_
#define STOCKPOT_MODEL_MODULES_H_

#include <cstddef>
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

// Layer by layer in the order above, then the embedding and the output head.
// Paths are those of transformers, as in "model.layers.0.self_attn.q_proj";
// PEFT puts "base_model.model." before them.
std::vector<BaseModule> ModulesOf(const ModelConfig& config);

// Where the embedding stands among `num_modules` modules; the head is last.
inline size_t EmbeddingIndex(size_t num_modules) { return num_modules - 2; }

}  // namespace stockpot

#endif  // STOCKPOT_MODEL_MODULES_H_
