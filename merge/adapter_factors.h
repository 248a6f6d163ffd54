// The tensors of one adapter, ready to be mixed.

#ifndef STOCKPOT_MERGE_ADAPTER_FACTORS_H_
#define STOCKPOT_MERGE_ADAPTER_FACTORS_H_

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace stockpot {

// One module's update dW = scale * b^T a. The scale is in Adapter::scales.
struct ModuleFactors {
  int64_t module = 0;  // Index into the base model's modules.
  at::Tensor a;        // [rank, in], the base model's dtype and device.
  at::Tensor b;        // [rank, out], likewise: PEFT's lora_B transposed.
};

struct AdapterFactors {
  std::vector<ModuleFactors> modules;  // By module index, each once.
};

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_ADAPTER_FACTORS_H_
