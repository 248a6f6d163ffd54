// What composition methods take and give: low-rank updates of one module.
//
// Methods are pure functions of one module's terms: float32 on the CPU in,
// float32 on the CPU out, the same on every machine and for any number of
// threads up to rounding. They throw c10::Error only when libtorch does.

#ifndef STOCKPOT_MERGE_METHODS_LOW_RANK_H_
#define STOCKPOT_MERGE_METHODS_LOW_RANK_H_

#include <ATen/core/Tensor.h>

namespace stockpot {

// An update dW = b a, [out, in].
struct LowRank {
  at::Tensor a;  // [rank, in] float32
  at::Tensor b;  // [out, rank] float32
};

// One skill's part in a module: weight * scale * b a.
struct MergeTerm {
  at::Tensor a;       // [rank, in] float32
  at::Tensor b;       // [out, rank] float32
  double scale = 1;   // The adapter's own, alpha / rank.
  double weight = 1;  // The recipe's, for this module. Not zero.
};

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_METHODS_LOW_RANK_H_
