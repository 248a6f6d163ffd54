// A ModelRunner runs one planned step. The seam between the engine's state
// machines and libtorch: the engine's tests put a fake here.

#ifndef STOCKPOT_ENGINE_MODEL_RUNNER_H_
#define STOCKPOT_ENGINE_MODEL_RUNNER_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "merge/composition.h"
#include "model/step_batch.h"

namespace stockpot {

// Logits of the sampled sequences of a step, in the batch's order.
struct Logits {
  std::shared_ptr<void> owner;  // Keeps `data` alive.
  float* data = nullptr;        // [rows, vocab], may be written over.
  int64_t rows = 0;
  int64_t vocab = 0;

  absl::Span<float> Row(int64_t row) const {
    return {data + row * vocab, static_cast<size_t>(vocab)};
  }
};

class ModelRunner {
 public:
  virtual ~ModelRunner() = default;

  // Mix row i + 1 of `batch` is mixes[i]; row 0 is the base model.
  // Called by the engine thread alone. Never throws.
  // Errors: ResourceExhausted (memory), Internal.
  virtual absl::StatusOr<Logits> Run(
      const StepBatch& batch,
      absl::Span<const std::shared_ptr<const Composition>> mixes) = 0;

  // Lets go of what only the last step needed; nothing runs now. Called by the
  // engine thread alone.
  virtual void Rest() {}
};

}  // namespace stockpot

#endif  // STOCKPOT_ENGINE_MODEL_RUNNER_H_
