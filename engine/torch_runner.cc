#include "engine/torch_runner.h"

#include <utility>

#include <ATen/core/Tensor.h>
#include <c10/core/InferenceMode.h>

#include "base/status_macros.h"
#include "model/torch_status.h"

namespace stockpot {

TorchRunner::TorchRunner(const BaseModel* model, KvCache kv)
    : model_(model),
      kv_(std::move(kv)),
      pool_(static_cast<int64_t>(model->modules().size()), model->options()) {}

absl::StatusOr<Logits> TorchRunner::Run(
    const StepBatch& batch,
    absl::Span<const std::shared_ptr<const Composition>> mixes) {
  return CatchTorch([&]() -> absl::StatusOr<Logits> {
    const c10::InferenceMode inference;
    const DeltaSet* deltas = mixes.empty() ? nullptr : &pool_.Prepare(mixes);
    ASSIGN_OR_RETURN(at::Tensor logits, model_->Forward(batch, deltas, &kv_));
    auto owner = std::make_shared<at::Tensor>(std::move(logits));
    Logits result;
    result.data = owner->mutable_data_ptr<float>();
    result.rows = owner->size(0);
    result.vocab = owner->size(1);
    result.owner = std::move(owner);
    return result;
  });
}

}  // namespace stockpot
