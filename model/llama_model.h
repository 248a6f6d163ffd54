// The Llama family: RMS norm before each block, rotary positions, grouped-query
// attention, gated SiLU. Source: arXiv:2302.13971, and transformers'
// LlamaForCausalLM for names and layouts.

#ifndef STOCKPOT_MODEL_LLAMA_MODEL_H_
#define STOCKPOT_MODEL_LLAMA_MODEL_H_

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "formats/checkpoint.h"
#include "model/base_model.h"
#include "model/embedding.h"
#include "model/linear.h"
#include "model/weight_reader.h"

namespace stockpot {

class LlamaModel : public BaseModel {
 public:
  static absl::StatusOr<std::unique_ptr<BaseModel>> Create(
      ModelConfig config, const LoadOptions& options,
      std::shared_ptr<const Checkpoint> checkpoint);

  absl::StatusOr<at::Tensor> Forward(const StepBatch& batch,
                                     const DeltaSet* deltas,
                                     KvCache* kv) const override;
  absl::StatusOr<ModuleWeights> Weights(size_t module) const override;

 private:
  struct Layer {
    at::Tensor attention_norm;  // [hidden]
    at::Tensor mlp_norm;        // [hidden]
    Linear qkv;      // [(heads + 2 kv_heads) * dim, hidden]: q, k, v stacked
    Linear o;        // [hidden, heads * dim]
    Linear gate_up;  // [2 * intermediate, hidden]: gate, up stacked
    Linear down;     // [hidden, intermediate]
  };
  struct Step;  // What all layers of one forward pass share.

  LlamaModel(ModelConfig config, const LoadOptions& options)
      : BaseModel(std::move(config), options) {}

  absl::Status LoadWeights(WeightReader* reader);
  absl::Status LoadEnds(WeightReader* reader);
  absl::StatusOr<Layer> LoadLayer(int64_t index, WeightReader* reader);

  // x [rows, hidden] normalised -> attention's contribution [rows, hidden].
  at::Tensor Attention(int64_t index, const at::Tensor& x, Step* step) const;
  at::Tensor Mlp(int64_t index, const at::Tensor& x, Step* step) const;
  at::Tensor Run(const StepBatch& batch, const DeltaSet* deltas,
                 KvCache* kv) const;

  std::shared_ptr<const Checkpoint> checkpoint_;
  Embedding embedding_;  // [vocab, hidden]
  std::vector<Layer> layers_;
  at::Tensor final_norm_;         // [hidden]
  Linear head_;                   // [vocab, hidden]
  at::Tensor inverse_frequency_;  // [dim / 2] float32
};

}  // namespace stockpot

#endif  // STOCKPOT_MODEL_LLAMA_MODEL_H_
