// A BaseModel is the resident network: immutable weights and a forward pass
// that takes a step's deltas as an argument.

#ifndef STOCKPOT_MODEL_BASE_MODEL_H_
#define STOCKPOT_MODEL_BASE_MODEL_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include <ATen/core/Tensor.h>

#include "base/digest.h"
#include "formats/model_config.h"
#include "model/delta_set.h"
#include "model/kv_cache.h"
#include "model/modules.h"
#include "model/step_batch.h"

namespace stockpot {

struct LoadOptions {
  // kFloat or kBFloat16, whatever the checkpoint stores.
  at::ScalarType dtype = at::kBFloat16;
  at::Device device = at::kCPU;
};

// A linear layer's tensors as the checkpoint has them: views of its pages on
// the CPU, in the dtype of the file, alive as long as the model.
struct ModuleWeights {
  at::Tensor weight;  // [out, in]; not contiguous where the file has [in, out],
                      // as of the embedding.
  at::Tensor bias;    // [out], or undefined.
};

class BaseModel {
 public:
  virtual ~BaseModel() = default;

  // Reads the Hugging Face directory `path`: config.json and safetensors.
  //
  // Errors: NotFound (no such file), Unimplemented (an architecture or a
  // setting that is not built; the message lists what is served),
  // InvalidArgument (a tensor or a shape that does not fit; the message names
  // it), ResourceExhausted.
  static absl::StatusOr<std::unique_ptr<BaseModel>> Load(
      const std::string& path, const LoadOptions& options);

  // Returns the logits of the last token of each sequence that wants them, in
  // the batch's order, [wanting, vocab] float32 on the CPU, and writes the new
  // keys and values into `kv`.
  //
  // `deltas` may be null: the base weights alone. Otherwise it has an entry per
  // module, and each sequence's `mix` is a row of their coefficients.
  //
  // Not thread-safe: the engine thread is the only caller. Never throws.
  // Errors: ResourceExhausted (memory), Internal (libtorch refused).
  // REQUIRES: token ids, positions and block ids are within the model's and the
  // cache's bounds.
  virtual absl::StatusOr<at::Tensor> Forward(const StepBatch& batch,
                                             const DeltaSet* deltas,
                                             KvCache* kv) const = 0;

  // The original weights of modules()[module], for what is computed from them
  // when an adapter is loaded. Gives back the pages that earlier calls read.
  // Thread-safe. Never throws.
  // Errors: InvalidArgument (the checkpoint changed), Internal.
  virtual absl::StatusOr<ModuleWeights> Weights(size_t module) const = 0;

  const ModelConfig& config() const { return config_; }
  const std::vector<BaseModule>& modules() const { return modules_; }
  const LoadOptions& options() const { return options_; }
  // SHA-256 over configuration, tensor names, shapes and bytes of the weights.
  const Digest& digest() const { return digest_; }
  // Memory that the weights hold.
  int64_t weight_bytes() const { return weight_bytes_; }

  KvCache::Shape KvShape() const;

 protected:
  BaseModel(ModelConfig config, const LoadOptions& options)
      : config_(std::move(config)),
        options_(options),
        modules_(ModulesOf(config_)) {}

  const ModelConfig config_;
  const LoadOptions options_;
  const std::vector<BaseModule> modules_;
  Digest digest_;
  int64_t weight_bytes_ = 0;
};

}  // namespace stockpot

#endif  // STOCKPOT_MODEL_BASE_MODEL_H_
