// The tensors that every architecture makes of a StepBatch.

#ifndef STOCKPOT_MODEL_STEP_TENSORS_H_
#define STOCKPOT_MODEL_STEP_TENSORS_H_

#include <ATen/core/Tensor.h>

#include "model/step_batch.h"

namespace stockpot {

struct StepTensors {
  at::Tensor token_ids;      // [rows] int64, CPU
  at::Tensor positions;      // [rows] int64, CPU
  at::Tensor slots;          // [rows] int64, device; see KvSlots()
  at::Tensor sampled_rows;   // [sampled] int64, device
  at::Tensor mix;            // [rows] int32, CPU
  at::Tensor mix_on_device;  // [rows] int64, device; undefined on the CPU
  at::Tensor sampled_mix;    // [sampled] int32, CPU
  at::Tensor sampled_mix_on_device;  // [sampled] int64; undefined on the CPU

  // Throws c10::Error.
  static StepTensors Of(const StepBatch& batch, at::Device device);
};

}  // namespace stockpot

#endif  // STOCKPOT_MODEL_STEP_TENSORS_H_
