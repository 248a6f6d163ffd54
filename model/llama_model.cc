#include "model/llama_model.h"

#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include <ATen/TensorOperators.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>

#include "base/status_macros.h"
#include "model/attention.h"
#include "model/ops.h"
#include "model/rope.h"
#include "model/step_tensors.h"
#include "model/torch_status.h"

namespace stockpot {

struct LlamaModel::Step {
  const StepBatch& batch;
  const DeltaSet* deltas;
  KvCache* kv;
  StepTensors tensors;
  at::Tensor cosines;  // [rows, dim / 2] float32
  at::Tensor sines;    // [rows, dim / 2] float32

  at::Tensor Scaled(int64_t layer, LlamaModule::Index module,
                    const at::Tensor& x) const {
    return deltas == nullptr
               ? x
               : tensors.Scaled((*deltas)[layer * LlamaModule::kCount + module],
                                x);
  }

  void Add(int64_t layer, LlamaModule::Index module, const at::Tensor& x,
           at::Tensor y) const {
    if (deltas != nullptr) {
      tensors.Add((*deltas)[layer * LlamaModule::kCount + module], x,
                  std::move(y));
    }
  }
};

absl::StatusOr<std::unique_ptr<BaseModel>> LlamaModel::Create(
    ModelConfig config, const LoadOptions& options,
    std::shared_ptr<const Checkpoint> checkpoint) {
  std::unique_ptr<LlamaModel> model(new LlamaModel(std::move(config), options));
  model->checkpoint_ = checkpoint;
  WeightReader reader(checkpoint.get(), "model.", options);
  RETURN_IF_ERROR(model->LoadWeights(&reader));
  return model;
}

absl::Status LlamaModel::LoadWeights(WeightReader* reader) {
  const ModelConfig& c = config_;
  RETURN_IF_ERROR(LoadEnds(reader));
  for (int64_t i = 0; i < c.num_layers; ++i) {
    ASSIGN_OR_RETURN(Layer layer, LoadLayer(i, reader));
    checkpoint_->DropPages();
    layers_.push_back(std::move(layer));
  }
  ASSIGN_OR_RETURN(final_norm_, reader->Read("norm.weight", {c.hidden_size}));
  inverse_frequency_ = at::tensor(RopeFrequencies(c), at::kFloat);
  return absl::OkStatus();
}

// Embedding and head, before the layers: repacking the largest weight is when
// loading needs the most memory beside what it keeps.
absl::Status LlamaModel::LoadEnds(WeightReader* reader) {
  const ModelConfig& c = config_;
  const std::vector<int64_t> shape = {c.vocab_size, c.hidden_size};
  ASSIGN_OR_RETURN(const at::Tensor mapped,
                   reader->Mapped("embed_tokens.weight", shape));
  at::Tensor head = mapped;
  if (!c.tie_embeddings) {
    ASSIGN_OR_RETURN(head, reader->Mapped("lm_head.weight", shape));
  }
  head = head.to(options_.device, options_.dtype);
  head_ = Linear(head, {});
  weight_bytes_ += head_.weight_bytes();
  // A tied head is repacked like any weight, so rows of the embedding are read
  // from the file's pages and cost no second copy.
  if (options_.device == at::kCPU) {
    embedding_ = Embedding(mapped, checkpoint_);
  } else {
    embedding_ = Embedding(
        c.tie_embeddings ? head : mapped.to(options_.device, options_.dtype),
        nullptr);
  }
  checkpoint_->DropPages();
  return absl::OkStatus();
}

absl::StatusOr<LlamaModel::Layer> LlamaModel::LoadLayer(int64_t index,
                                                        WeightReader* reader) {
  const ModelConfig& c = config_;
  const std::string p = absl::StrCat("layers.", index, ".");
  const int64_t q = c.num_heads * c.head_dim;
  const int64_t kv = c.num_kv_heads * c.head_dim;
  const std::string attn = p + "self_attn.";
  const std::string mlp = p + "mlp.";

  // `names` are stacked into one product; `has_bias` says whether all have one.
  const auto load = [&](const std::vector<std::string>& names,
                        const std::vector<int64_t>& outs, int64_t in,
                        bool has_bias) -> absl::StatusOr<Linear> {
    std::vector<std::string> weights, biases;
    std::vector<std::vector<int64_t>> weight_shapes, bias_shapes;
    for (size_t i = 0; i < names.size(); ++i) {
      weights.push_back(names[i] + ".weight");
      biases.push_back(names[i] + ".bias");
      weight_shapes.push_back({outs[i], in});
      bias_shapes.push_back({outs[i]});
    }
    ASSIGN_OR_RETURN(at::Tensor w, reader->ReadStacked(weights, weight_shapes));
    at::Tensor b;
    if (has_bias) {
      ASSIGN_OR_RETURN(b, reader->ReadStacked(biases, bias_shapes));
    }
    Linear linear(w, b);
    weight_bytes_ += linear.weight_bytes();
    return linear;
  };

  Layer layer;
  ASSIGN_OR_RETURN(layer.attention_norm,
                   reader->Read(p + "input_layernorm.weight", {c.hidden_size}));
  ASSIGN_OR_RETURN(
      layer.mlp_norm,
      reader->Read(p + "post_attention_layernorm.weight", {c.hidden_size}));
  ASSIGN_OR_RETURN(layer.qkv,
                   load({attn + "q_proj", attn + "k_proj", attn + "v_proj"},
                        {q, kv, kv}, c.hidden_size, c.attention_bias));
  ASSIGN_OR_RETURN(
      layer.o, load({attn + "o_proj"}, {c.hidden_size}, q, c.attention_bias));
  ASSIGN_OR_RETURN(layer.gate_up,
                   load({mlp + "gate_proj", mlp + "up_proj"},
                        {c.intermediate_size, c.intermediate_size},
                        c.hidden_size, c.mlp_bias));
  ASSIGN_OR_RETURN(layer.down, load({mlp + "down_proj"}, {c.hidden_size},
                                    c.intermediate_size, c.mlp_bias));
  return layer;
}

at::Tensor LlamaModel::Attention(int64_t index, const at::Tensor& x,
                                 Step* step) const {
  const Layer& layer = layers_[index];
  const int64_t q = config_.num_heads * config_.head_dim;
  const int64_t kv = config_.num_kv_heads * config_.head_dim;
  const at::Tensor qkv = layer.qkv(x);  // [rows, q + 2 kv]
  const at::Tensor query = qkv.narrow(1, 0, q);
  const at::Tensor key = qkv.narrow(1, q, kv);
  const at::Tensor value = qkv.narrow(1, q + kv, kv);
  step->Add(index, LlamaModule::kQ, x, query);
  step->Add(index, LlamaModule::kK, x, key);
  step->Add(index, LlamaModule::kV, x, value);
  // Queries and keys stand side by side: one call rotates both.
  Rotate(qkv, config_.num_heads + config_.num_kv_heads, config_.head_dim,
         step->cosines, step->sines);
  at::Tensor& keys = step->kv->keys(index);
  at::Tensor& values = step->kv->values(index);
  StoreKv(key, value, step->tensors.slots, keys, values);
  const at::Tensor mixed = step->Scaled(
      index, LlamaModule::kO,
      Attend(query, {config_.num_heads, config_.num_kv_heads, config_.head_dim},
             step->batch, keys, values));  // [rows, q]
  at::Tensor out = layer.o(mixed);
  step->Add(index, LlamaModule::kO, mixed, out);
  return out;
}

at::Tensor LlamaModel::Mlp(int64_t index, const at::Tensor& x,
                           Step* step) const {
  const Layer& layer = layers_[index];
  const int64_t n = config_.intermediate_size;
  const at::Tensor gate_up = layer.gate_up(x);  // [rows, 2 n]
  step->Add(index, LlamaModule::kGate, x, gate_up.narrow(1, 0, n));
  step->Add(index, LlamaModule::kUp, x, gate_up.narrow(1, n, n));
  const at::Tensor gated =
      step->Scaled(index, LlamaModule::kDown, SiluMul(gate_up));  // [rows, n]
  at::Tensor out = layer.down(gated);
  step->Add(index, LlamaModule::kDown, gated, out);
  return out;
}

at::Tensor LlamaModel::Run(const StepBatch& batch, const DeltaSet* deltas,
                           KvCache* kv) const {
  Step step{batch, deltas, kv, StepTensors::Of(batch, options_.device), {}, {}};
  const at::Tensor angles = step.tensors.positions.to(at::kFloat).unsqueeze(1) *
                            inverse_frequency_.unsqueeze(0);  // [rows, dim / 2]
  step.cosines = angles.cos().to(options_.device);
  step.sines = angles.sin().to(options_.device);

  at::Tensor residual = embedding_.Lookup(step.tensors.token_ids,
                                          options_.dtype);  // [rows, hidden]
  if (deltas != nullptr) {
    step.tensors.AddToEmbedding((*deltas)[EmbeddingIndex(deltas->size())],
                                residual);
  }
  at::Tensor delta;
  for (int64_t i = 0; i < config_.num_layers; ++i) {
    const Layer& layer = layers_[i];
    delta = Attention(
        i, AddRmsNorm(residual, delta, layer.attention_norm, config_.norm_eps),
        &step);
    delta =
        Mlp(i, AddRmsNorm(residual, delta, layer.mlp_norm, config_.norm_eps),
            &step);
  }
  if (step.tensors.sampled_rows.numel() == 0) {
    return at::empty({0, config_.vocab_size}, at::kFloat);
  }
  // Only rows that are sampled go through the head, a fifth of the weights.
  residual = residual.index_select(0, step.tensors.sampled_rows);
  delta = delta.index_select(0, step.tensors.sampled_rows);
  at::Tensor x = AddRmsNorm(residual, delta, final_norm_, config_.norm_eps);
  if (deltas != nullptr) {
    x = step.tensors.ScaledSampled(deltas->back(), x);
  }
  const at::Tensor logits = head_(x);  // [sampled, vocab]
  if (deltas != nullptr) {
    step.tensors.AddSampled(deltas->back(), x, logits);
  }
  return logits.to(at::kCPU, at::kFloat).contiguous();
}

absl::StatusOr<at::Tensor> LlamaModel::Forward(const StepBatch& batch,
                                               const DeltaSet* deltas,
                                               KvCache* kv) const {
  return CatchTorch([&]() -> absl::StatusOr<at::Tensor> {
    const c10::InferenceMode inference;
    return Run(batch, deltas, kv);
  });
}

absl::StatusOr<ModuleWeights> LlamaModel::Weights(size_t module) const {
  const BaseModule& m = modules_[module];
  checkpoint_->DropPages();
  return CatchTorch([&]() -> absl::StatusOr<ModuleWeights> {
    const WeightReader reader(checkpoint_.get(), "model.", options_);
    std::string name(absl::StripPrefix(m.path, "model."));
    if (m.is_output_head && config_.tie_embeddings) {
      name = "embed_tokens";
    }
    ModuleWeights weights;
    if (m.is_embedding) {
      ASSIGN_OR_RETURN(const at::Tensor rows,
                       reader.Mapped(name + ".weight", {m.in, m.out}));
      weights.weight = rows.t();
      return weights;
    }
    ASSIGN_OR_RETURN(weights.weight,
                     reader.Mapped(name + ".weight", {m.out, m.in}));
    const bool has_bias = absl::StrContains(name, ".mlp.")
                              ? config_.mlp_bias
                              : config_.attention_bias && !m.is_output_head;
    if (has_bias) {
      ASSIGN_OR_RETURN(weights.bias, reader.Mapped(name + ".bias", {m.out}));
    }
    return weights;
  });
}

}  // namespace stockpot
