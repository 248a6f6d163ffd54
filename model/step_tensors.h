// The tensors that every architecture makes of a StepBatch.

#ifndef STOCKPOT_MODEL_STEP_TENSORS_H_
#define STOCKPOT_MODEL_STEP_TENSORS_H_

#include <ATen/core/Tensor.h>

#include "model/delta_set.h"
#include "model/step_batch.h"

namespace stockpot {

struct StepTensors {
  at::Tensor token_ids;              // [rows] int64, CPU
  at::Tensor positions;              // [rows] int64, CPU
  at::Tensor slots;                  // [rows] int64, device; see KvSlots()
  at::Tensor sampled_rows;           // [sampled] int64, device
  at::Tensor mix;                    // [rows] int32, CPU
  at::Tensor mix_on_device;          // [rows] int64, device
  at::Tensor sampled_mix;            // [sampled] int32, CPU
  at::Tensor sampled_mix_on_device;  // [sampled] int64, device

  // Throws c10::Error.
  static StepTensors Of(const StepBatch& batch, at::Device device);

  // What a module reads under `delta`, x [rows, in] or a scaled copy. Throws
  // c10::Error.
  at::Tensor Scaled(const ModuleDelta& delta, const at::Tensor& x) const;
  // Likewise for the rows that are sampled.
  at::Tensor ScaledSampled(const ModuleDelta& delta, const at::Tensor& x) const;

  // Applies `delta` of the embedding to y [rows, hidden], the base model's rows
  // of token_ids. Throws c10::Error.
  void AddToEmbedding(const ModuleDelta& delta, at::Tensor y) const;

  // Applies `delta` to a module's output y [rows, out], where the module read x
  // [rows, in]. Throws c10::Error.
  void Add(const ModuleDelta& delta, const at::Tensor& x, at::Tensor y) const;
  // Likewise for the rows that are sampled.
  void AddSampled(const ModuleDelta& delta, const at::Tensor& x,
                  at::Tensor y) const;
};

}  // namespace stockpot

#endif  // STOCKPOT_MODEL_STEP_TENSORS_H_
