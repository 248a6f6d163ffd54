// The tensors of one adapter, ready to be mixed.

#ifndef STOCKPOT_MERGE_ADAPTER_FACTORS_H_
#define STOCKPOT_MERGE_ADAPTER_FACTORS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "model/token_rows.h"

namespace stockpot {

// What an adapter does to one module: y = W x becomes
//   gain o (W (input_gain o x) + c b^T a x) + shift + c bias,
// where c is the recipe's weight times Adapter::scales, and o multiplies value
// by value. What is undefined is left out.
struct ModuleFactors {
  int64_t module = 0;  // Index into the base model's modules.
  at::Tensor a;        // [rank, in], the base model's dtype and device.
  at::Tensor b;        // [rank, out], likewise: PEFT's lora_B transposed.
  // float32 on the CPU. An adapter with any but `bias` runs alone, at weight 1
  // (Adapter::alone_because).
  at::Tensor bias;        // [out]
  at::Tensor gain;        // [out]
  at::Tensor shift;       // [out]
  at::Tensor input_gain;  // [in]

  bool has_row_terms() const {
    return bias.defined() || gain.defined() || shift.defined() ||
           input_gain.defined();
  }
  // Memory held.
  int64_t bytes() const {
    int64_t sum = 0;
    for (const at::Tensor* t : {&a, &b, &bias, &gain, &shift, &input_gain}) {
      sum += t->defined() ? static_cast<int64_t>(t->nbytes()) : 0;
    }
    return sum;
  }
};

// Rows of the weight of one module, the embedding or the head.
struct ModuleRows {
  int64_t module = 0;
  std::shared_ptr<const TokenRows> rows;  // A tied head's are the embedding's.
};

struct AdapterFactors {
  std::vector<ModuleFactors> modules;  // By module index, each once.
  std::vector<ModuleRows> replaced;    // As Adapter::replaced.
};

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_ADAPTER_FACTORS_H_
