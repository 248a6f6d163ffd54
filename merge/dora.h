// DoRA: the output of each adapted row is rescaled to a trained magnitude.
// Source: arXiv:2402.09353, PEFT's tuners/lora/dora.py.

#ifndef STOCKPOT_MERGE_DORA_H_
#define STOCKPOT_MERGE_DORA_H_

#include <ATen/core/Tensor.h>

namespace stockpot {

// m / c, [out] float32, where c_j = ||W_j + scale * (b a)_j|| over the row j of
// the base weight.
//
// weight [out, in] in any float dtype, on the CPU, read a few rows or columns
// at a time; a [rank, in], b [out, rank], magnitude [out], float32. A row whose
// c is zero gives infinity or NaN, which the caller refuses. Throws c10::Error.
at::Tensor DoraGain(const at::Tensor& weight, const at::Tensor& a,
                    const at::Tensor& b, double scale,
                    const at::Tensor& magnitude);

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_DORA_H_
