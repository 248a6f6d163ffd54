// GPT-2: layer norm with bias before each block, learned positions, a fused
// attention projection, GELU. Source: transformers' GPT2LMHeadModel, whose
// Conv1D keeps weights as [in, out].

#ifndef STOCKPOT_MODEL_GPT2_MODEL_H_
#define STOCKPOT_MODEL_GPT2_MODEL_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "formats/checkpoint.h"
#include "model/base_model.h"
#include "model/embedding.h"
#include "model/linear.h"
#include "model/weight_reader.h"

namespace stockpot {

class Gpt2Model : public BaseModel {
 public:
  static absl::StatusOr<std::unique_ptr<BaseModel>> Create(
      ModelConfig config, const LoadOptions& options,
      std::shared_ptr<const Checkpoint> checkpoint);

  absl::StatusOr<at::Tensor> Forward(const StepBatch& batch,
                                     const DeltaSet* deltas,
                                     KvCache* kv) const override;
  absl::StatusOr<ModuleWeights> Weights(size_t module) const override;

 private:
  struct LayerNorm {
    at::Tensor weight;  // [hidden]
    at::Tensor bias;    // [hidden]
  };
  struct Layer {
    LayerNorm attention_norm;
    LayerNorm mlp_norm;
    Linear attention;      // [3 * hidden, hidden]: q, k, v stacked
    Linear attention_out;  // [hidden, hidden]
    Linear fc;             // [intermediate, hidden]
    Linear fc_out;         // [hidden, intermediate]
  };
  struct Step;

  Gpt2Model(ModelConfig config, const LoadOptions& options)
      : BaseModel(std::move(config), options) {}

  absl::Status LoadWeights(WeightReader* reader);
  absl::Status LoadEnds(WeightReader* reader);
  absl::StatusOr<Layer> LoadLayer(int64_t index, WeightReader* reader);
  absl::StatusOr<Linear> LoadConv1D(const std::string& name, int64_t in,
                                    int64_t out, WeightReader* reader);
  absl::StatusOr<LayerNorm> LoadNorm(const std::string& name,
                                     WeightReader* reader);

  at::Tensor Normalise(const at::Tensor& x, const LayerNorm& norm) const;
  at::Tensor Activate(const at::Tensor& x) const;
  // input [rows, hidden] normalised -> the block's contribution [rows, hidden].
  at::Tensor Attention(int64_t index, const at::Tensor& input,
                       Step* step) const;
  at::Tensor Mlp(int64_t index, const at::Tensor& input, Step* step) const;
  at::Tensor Run(const StepBatch& batch, const DeltaSet* deltas,
                 KvCache* kv) const;

  std::shared_ptr<const Checkpoint> checkpoint_;
  Embedding embedding_;            // [vocab, hidden]
  at::Tensor position_embedding_;  // [max_positions, hidden]
  std::vector<Layer> layers_;
  LayerNorm final_norm_;
  Linear head_;  // [vocab, hidden]
};

}  // namespace stockpot

#endif  // STOCKPOT_MODEL_GPT2_MODEL_H_
