#include "model/step_tensors.h"

#include <vector>

#include <ATen/ops/tensor.h>

#include "model/add_delta.h"
#include "model/attention.h"

namespace stockpot {

StepTensors StepTensors::Of(const StepBatch& batch, at::Device device) {
  std::vector<int32_t> mix;
  std::vector<int32_t> sampled_mix;
  std::vector<int64_t> sampled_rows;
  mix.reserve(batch.token_ids.size());
  for (const StepSequence& sequence : batch.sequences) {
    mix.insert(mix.end(), sequence.num_rows, sequence.mix);
    if (sequence.wants_logits) {
      sampled_rows.push_back(sequence.first_row + sequence.num_rows - 1);
      sampled_mix.push_back(sequence.mix);
    }
  }
  StepTensors t;
  t.token_ids = at::tensor(batch.token_ids, at::kInt).to(at::kLong);
  t.positions = at::tensor(batch.positions, at::kInt).to(at::kLong);
  t.slots = KvSlots(batch, device);
  t.sampled_rows = at::tensor(sampled_rows, at::kLong).to(device);
  t.mix = at::tensor(mix, at::kInt);
  t.sampled_mix = at::tensor(sampled_mix, at::kInt);
  t.mix_on_device = t.mix.to(device, at::kLong);
  t.sampled_mix_on_device = t.sampled_mix.to(device, at::kLong);
  return t;
}

namespace {

void AddAll(const ModuleDelta& delta, const at::Tensor& mix,
            const at::Tensor& mix_on_device, const at::Tensor& x,
            const at::Tensor& y) {
  ReplaceLogits(delta.replaced, x, mix, y);
  if (delta.stacked.a.defined()) {
    AddStackedDelta(x, delta.stacked, mix_on_device, y);
  } else if (!delta.empty()) {
    AddDelta(x, delta, mix, y);
  }
  if (delta.has_output_terms()) {
    ApplyOutputTerms(delta, mix_on_device, y);
  }
}

}  // namespace

at::Tensor StepTensors::Scaled(const ModuleDelta& delta,
                               const at::Tensor& x) const {
  return ScaledInputs(delta, mix_on_device, x);
}

at::Tensor StepTensors::ScaledSampled(const ModuleDelta& delta,
                                      const at::Tensor& x) const {
  return ScaledInputs(delta, sampled_mix_on_device, x);
}

void StepTensors::AddToEmbedding(const ModuleDelta& delta, at::Tensor y) const {
  ReplaceEmbeddings(delta.replaced, token_ids, mix, y);
  if (delta.stacked.a.defined()) {
    AddStackedEmbeddingDelta(token_ids, delta.stacked, mix_on_device, y);
  } else if (!delta.empty()) {
    AddEmbeddingDelta(token_ids, delta, mix, y);
  }
  if (delta.has_output_terms()) {
    ApplyOutputTerms(delta, mix_on_device, y);
  }
}

void StepTensors::Add(const ModuleDelta& delta, const at::Tensor& x,
                      at::Tensor y) const {
  AddAll(delta, mix, mix_on_device, x, y);
}

void StepTensors::AddSampled(const ModuleDelta& delta, const at::Tensor& x,
                             at::Tensor y) const {
  AddAll(delta, sampled_mix, sampled_mix_on_device, x, y);
}

}  // namespace stockpot
