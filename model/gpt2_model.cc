#include "model/gpt2_model.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/relu.h>
#include <c10/core/InferenceMode.h>

#include "base/status_macros.h"
#include "model/attention.h"
#include "model/ops.h"
#include "model/step_tensors.h"
#include "model/torch_status.h"

namespace stockpot {

struct Gpt2Model::Step {
  const StepBatch& batch;
  const DeltaSet* deltas;
  KvCache* kv;
  StepTensors tensors;

  at::Tensor Scaled(int64_t layer, Gpt2Module::Index module,
                    const at::Tensor& x) const {
    return deltas == nullptr
               ? x
               : tensors.Scaled((*deltas)[layer * Gpt2Module::kCount + module],
                                x);
  }

  void Add(int64_t layer, Gpt2Module::Index module, const at::Tensor& x,
           at::Tensor y) const {
    if (deltas != nullptr) {
      tensors.Add((*deltas)[layer * Gpt2Module::kCount + module], x,
                  std::move(y));
    }
  }
};

absl::StatusOr<std::unique_ptr<BaseModel>> Gpt2Model::Create(
    ModelConfig config, const LoadOptions& options,
    std::shared_ptr<const Checkpoint> checkpoint) {
  std::unique_ptr<Gpt2Model> model(new Gpt2Model(std::move(config), options));
  model->checkpoint_ = checkpoint;
  WeightReader reader(checkpoint.get(), "transformer.", options);
  RETURN_IF_ERROR(model->LoadWeights(&reader));
  return model;
}

absl::Status Gpt2Model::LoadWeights(WeightReader* reader) {
  const ModelConfig& c = config_;
  RETURN_IF_ERROR(LoadEnds(reader));
  for (int64_t i = 0; i < c.num_layers; ++i) {
    ASSIGN_OR_RETURN(Layer layer, LoadLayer(i, reader));
    checkpoint_->DropPages();
    layers_.push_back(std::move(layer));
  }
  ASSIGN_OR_RETURN(final_norm_, LoadNorm("ln_f", reader));
  ASSIGN_OR_RETURN(
      position_embedding_,
      reader->Read("wpe.weight", {c.max_positions, c.hidden_size}));
  checkpoint_->DropPages();
  return absl::OkStatus();
}

// Embedding and head, before the layers: repacking the largest weight is when
// loading needs the most memory beside what it keeps.
absl::Status Gpt2Model::LoadEnds(WeightReader* reader) {
  const ModelConfig& c = config_;
  const std::vector<int64_t> shape = {c.vocab_size, c.hidden_size};
  ASSIGN_OR_RETURN(const at::Tensor mapped,
                   reader->Mapped("wte.weight", shape));
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

absl::StatusOr<Gpt2Model::LayerNorm> Gpt2Model::LoadNorm(
    const std::string& name, WeightReader* reader) {
  LayerNorm norm;
  ASSIGN_OR_RETURN(norm.weight,
                   reader->Read(name + ".weight", {config_.hidden_size}));
  ASSIGN_OR_RETURN(norm.bias,
                   reader->Read(name + ".bias", {config_.hidden_size}));
  return norm;
}

absl::StatusOr<Linear> Gpt2Model::LoadConv1D(const std::string& name,
                                             int64_t in, int64_t out,
                                             WeightReader* reader) {
  ASSIGN_OR_RETURN(at::Tensor weight,
                   reader->Read(name + ".weight", {in, out}));
  ASSIGN_OR_RETURN(at::Tensor bias, reader->Read(name + ".bias", {out}));
  Linear linear(weight.t(), bias);
  weight_bytes_ += linear.weight_bytes();
  return linear;
}

absl::StatusOr<Gpt2Model::Layer> Gpt2Model::LoadLayer(int64_t index,
                                                      WeightReader* reader) {
  const int64_t hidden = config_.hidden_size;
  const int64_t inner = config_.intermediate_size;
  const std::string p = absl::StrCat("h.", index, ".");
  Layer layer;
  ASSIGN_OR_RETURN(layer.attention_norm, LoadNorm(p + "ln_1", reader));
  ASSIGN_OR_RETURN(layer.mlp_norm, LoadNorm(p + "ln_2", reader));
  ASSIGN_OR_RETURN(layer.attention,
                   LoadConv1D(p + "attn.c_attn", hidden, 3 * hidden, reader));
  ASSIGN_OR_RETURN(layer.attention_out,
                   LoadConv1D(p + "attn.c_proj", hidden, hidden, reader));
  ASSIGN_OR_RETURN(layer.fc, LoadConv1D(p + "mlp.c_fc", hidden, inner, reader));
  ASSIGN_OR_RETURN(layer.fc_out,
                   LoadConv1D(p + "mlp.c_proj", inner, hidden, reader));
  return layer;
}

at::Tensor Gpt2Model::Normalise(const at::Tensor& x,
                                const LayerNorm& norm) const {
  return at::layer_norm(x, {config_.hidden_size}, norm.weight, norm.bias,
                        config_.norm_eps);
}

at::Tensor Gpt2Model::Activate(const at::Tensor& x) const {
  switch (config_.activation) {
    case Activation::kRelu:
      return at::relu(x);
    case Activation::kGeluErf:
      return at::gelu(x);
    default:
      return at::gelu(x, "tanh");
  }
}

at::Tensor Gpt2Model::Attention(int64_t index, const at::Tensor& input,
                                Step* step) const {
  const Layer& layer = layers_[index];
  const at::Tensor x = step->Scaled(index, Gpt2Module::kAttention, input);
  const int64_t hidden = config_.hidden_size;
  const at::Tensor qkv = layer.attention(x);  // [rows, 3 hidden]
  step->Add(index, Gpt2Module::kAttention, x, qkv);
  at::Tensor& keys = step->kv->keys(index);
  at::Tensor& values = step->kv->values(index);
  StoreKv(qkv.narrow(1, hidden, hidden), qkv.narrow(1, 2 * hidden, hidden),
          step->tensors.slots, keys, values);
  const at::Tensor mixed = step->Scaled(
      index, Gpt2Module::kAttentionOut,
      Attend(qkv.narrow(1, 0, hidden),
             {config_.num_heads, config_.num_kv_heads, config_.head_dim},
             step->batch, keys, values));  // [rows, hidden]
  at::Tensor out = layer.attention_out(mixed);
  step->Add(index, Gpt2Module::kAttentionOut, mixed, out);
  return out;
}

at::Tensor Gpt2Model::Mlp(int64_t index, const at::Tensor& input,
                          Step* step) const {
  const Layer& layer = layers_[index];
  const at::Tensor x = step->Scaled(index, Gpt2Module::kFc, input);
  const at::Tensor wide = layer.fc(x);  // [rows, intermediate]
  step->Add(index, Gpt2Module::kFc, x, wide);
  const at::Tensor active =
      step->Scaled(index, Gpt2Module::kFcOut, Activate(wide));
  at::Tensor out = layer.fc_out(active);
  step->Add(index, Gpt2Module::kFcOut, active, out);
  return out;
}

at::Tensor Gpt2Model::Run(const StepBatch& batch, const DeltaSet* deltas,
                          KvCache* kv) const {
  Step step{batch, deltas, kv, StepTensors::Of(batch, options_.device)};
  const StepTensors& t = step.tensors;
  const at::Tensor embedded =
      embedding_.Lookup(t.token_ids, options_.dtype);  // [rows, hidden]
  if (deltas != nullptr) {
    t.AddToEmbedding((*deltas)[EmbeddingIndex(deltas->size())], embedded);
  }
  at::Tensor residual =
      embedded + position_embedding_.index_select(
                     0, t.positions.to(options_.device));  // [rows, hidden]
  for (int64_t i = 0; i < config_.num_layers; ++i) {
    residual.add_(
        Attention(i, Normalise(residual, layers_[i].attention_norm), &step));
    residual.add_(Mlp(i, Normalise(residual, layers_[i].mlp_norm), &step));
  }
  if (t.sampled_rows.numel() == 0) {
    return at::empty({0, config_.vocab_size}, at::kFloat);
  }
  at::Tensor x =
      Normalise(residual.index_select(0, t.sampled_rows), final_norm_);
  if (deltas != nullptr) {
    x = t.ScaledSampled(deltas->back(), x);
  }
  const at::Tensor logits = head_(x);  // [sampled, vocab]
  if (deltas != nullptr) {
    t.AddSampled(deltas->back(), x, logits);
  }
  return logits.to(at::kCPU, at::kFloat).contiguous();
}

absl::StatusOr<at::Tensor> Gpt2Model::Forward(const StepBatch& batch,
                                              const DeltaSet* deltas,
                                              KvCache* kv) const {
  return CatchTorch([&]() -> absl::StatusOr<at::Tensor> {
    const c10::InferenceMode inference;
    return Run(batch, deltas, kv);
  });
}

absl::StatusOr<ModuleWeights> Gpt2Model::Weights(size_t module) const {
  const BaseModule& m = modules_[module];
  checkpoint_->DropPages();
  return CatchTorch([&]() -> absl::StatusOr<ModuleWeights> {
    const WeightReader reader(checkpoint_.get(), "transformer.", options_);
    ModuleWeights weights;
    if (m.is_output_head) {
      ASSIGN_OR_RETURN(weights.weight,
                       reader.Mapped(config_.tie_embeddings ? "wte.weight"
                                                            : "lm_head.weight",
                                     {m.out, m.in}));
      return weights;
    }
    const std::string name(absl::StripPrefix(m.path, "transformer."));
    if (m.is_embedding) {
      ASSIGN_OR_RETURN(const at::Tensor rows,
                       reader.Mapped(name + ".weight", {m.in, m.out}));
      weights.weight = rows.t();
      return weights;
    }
    ASSIGN_OR_RETURN(const at::Tensor conv,
                     reader.Mapped(name + ".weight", {m.in, m.out}));
    weights.weight = conv.t();
    ASSIGN_OR_RETURN(weights.bias, reader.Mapped(name + ".bias", {m.out}));
    return weights;
  });
}

}  // namespace stockpot
