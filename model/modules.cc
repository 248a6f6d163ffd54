#include "model/modules.h"

#include "absl/strings/str_cat.h"

namespace stockpot {

namespace {

void AppendLlamaLayer(const ModelConfig& c, int64_t layer,
                      std::vector<BaseModule>* modules) {
  const std::string prefix = absl::StrCat("model.layers.", layer, ".");
  const int64_t q = c.num_heads * c.head_dim;
  const int64_t kv = c.num_kv_heads * c.head_dim;
  const auto add = [&](const char* name, int64_t in, int64_t out,
                       bool reads_alone) {
    modules->push_back(
        {absl::StrCat(prefix, name), in, out, false, reads_alone});
  };
  add("self_attn.q_proj", c.hidden_size, q, false);
  add("self_attn.k_proj", c.hidden_size, kv, false);
  add("self_attn.v_proj", c.hidden_size, kv, false);
  add("self_attn.o_proj", q, c.hidden_size, true);
  add("mlp.gate_proj", c.hidden_size, c.intermediate_size, false);
  add("mlp.up_proj", c.hidden_size, c.intermediate_size, false);
  add("mlp.down_proj", c.intermediate_size, c.hidden_size, true);
}

void AppendGpt2Layer(const ModelConfig& c, int64_t layer,
                     std::vector<BaseModule>* modules) {
  const std::string prefix = absl::StrCat("transformer.h.", layer, ".");
  const auto add = [&](const char* name, int64_t in, int64_t out) {
    modules->push_back({absl::StrCat(prefix, name), in, out, false});
  };
  add("attn.c_attn", c.hidden_size, 3 * c.hidden_size);
  add("attn.c_proj", c.hidden_size, c.hidden_size);
  add("mlp.c_fc", c.hidden_size, c.intermediate_size);
  add("mlp.c_proj", c.intermediate_size, c.hidden_size);
}

}  // namespace

std::vector<BaseModule> ModulesOf(const ModelConfig& config) {
  std::vector<BaseModule> modules;
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    if (config.architecture == Architecture::kLlama) {
      AppendLlamaLayer(config, layer, &modules);
    } else {
      AppendGpt2Layer(config, layer, &modules);
    }
  }
  const char* const embedding = config.architecture == Architecture::kLlama
                                    ? "model.embed_tokens"
                                    : "transformer.wte";
  modules.push_back({.path = embedding,
                     .in = config.vocab_size,
                     .out = config.hidden_size,
                     .is_embedding = true,
                     .is_tied = config.tie_embeddings});
  modules.push_back({.path = "lm_head",
                     .in = config.hidden_size,
                     .out = config.vocab_size,
                     .is_output_head = true,
                     .is_tied = config.tie_embeddings});
  return modules;
}

}  // namespace stockpot
