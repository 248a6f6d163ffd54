// Tensor operations of a decoder layer that are not a plain product: each picks
// a kernel for the CPU or libtorch's own operators elsewhere.
//
// Shapes: `rows` counts the new tokens of a step. All throw c10::Error.

#ifndef STOCKPOT_MODEL_OPS_H_
#define STOCKPOT_MODEL_OPS_H_

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace stockpot {

// Adds `delta` [rows, n] (may be undefined) to `residual` [rows, n] in place
// and returns its RMS norm times `weight` [n]: [rows, n].
at::Tensor AddRmsNorm(at::Tensor& residual, const at::Tensor& delta,
                      const at::Tensor& weight, double epsilon);

// Rotates heads in place. `x` [rows, >= heads * dim], inner stride 1; cosines
// and sines [rows, dim / 2] float32.
void Rotate(at::Tensor x, int64_t heads, int64_t dim, const at::Tensor& cosines,
            const at::Tensor& sines);

// gate_up [rows, 2 n] -> silu(first half) * second half, [rows, n].
at::Tensor SiluMul(const at::Tensor& gate_up);

}  // namespace stockpot

#endif  // STOCKPOT_MODEL_OPS_H_
