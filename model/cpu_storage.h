// From a tensor's dtype to the storage type that CPU kernels take.

#ifndef STOCKPOT_MODEL_CPU_STORAGE_H_
#define STOCKPOT_MODEL_CPU_STORAGE_H_

#include <ATen/core/Tensor.h>

#include "model/cpu_kernels.h"

namespace stockpot {

// Calls f with a null pointer of the storage type that `x` has on the CPU.
// Throws c10::Error.
template <typename F>
void WithCpuStorage(const at::Tensor& x, F f) {
  if (x.scalar_type() == at::kFloat) {
    f(static_cast<float*>(nullptr));
  } else {
    TORCH_CHECK(x.scalar_type() == at::kBFloat16,
                "the CPU runs float32 and bfloat16");
    f(static_cast<kernels::Bf16*>(nullptr));
  }
}

}  // namespace stockpot

#endif  // STOCKPOT_MODEL_CPU_STORAGE_H_
