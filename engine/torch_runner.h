// TorchRunner runs steps on the resident base model. The engine's only file
// that touches libtorch.

#ifndef STOCKPOT_ENGINE_TORCH_RUNNER_H_
#define STOCKPOT_ENGINE_TORCH_RUNNER_H_

#include "absl/status/statusor.h"

#include "engine/model_runner.h"
#include "merge/skill_pool.h"
#include "model/base_model.h"
#include "model/kv_cache.h"

namespace stockpot {

class TorchRunner : public ModelRunner {
 public:
  // `model` must outlive the runner.
  TorchRunner(const BaseModel* model, KvCache kv);

  absl::StatusOr<Logits> Run(
      const StepBatch& batch,
      absl::Span<const std::shared_ptr<const Composition>> mixes) override;

  void Rest() override { pool_.Rest(); }

 private:
  const BaseModel* const model_;
  KvCache kv_;
  SkillPool pool_;
};

}  // namespace stockpot

#endif  // STOCKPOT_ENGINE_TORCH_RUNNER_H_
