// Adds a step's low-rank updates to the output of a linear module.

#ifndef STOCKPOT_MODEL_ADD_DELTA_H_
#define STOCKPOT_MODEL_ADD_DELTA_H_

#include <ATen/core/Tensor.h>

#include "model/delta_set.h"

namespace stockpot {

// Adds to y, in place, what `delta` says for the mix of each row.
//
// x [rows, in], y [rows, out], both with inner stride 1, on the CPU; mix [rows]
// int32. Only the rows and skills that a mix uses are computed, in float32,
// and rounded once. Throws c10::Error.
void AddDelta(const at::Tensor& x, const ModuleDelta& delta,
              const at::Tensor& mix, at::Tensor y);

// Likewise for the embedding, which read the tokens `ids` [rows] int64 on the
// CPU: what multiplies a token is its column of `a`.
void AddEmbeddingDelta(const at::Tensor& ids, const ModuleDelta& delta,
                       const at::Tensor& mix, at::Tensor y);

// The same with libtorch's operators, for any device; mix [rows] int64 on it.
void AddStackedDelta(const at::Tensor& x, const StackedDelta& delta,
                     const at::Tensor& mix, at::Tensor y);
void AddStackedEmbeddingDelta(const at::Tensor& ids, const StackedDelta& delta,
                              const at::Tensor& mix, at::Tensor y);

// Applies gain and shift of `delta` to y [rows, out] in place, where they are
// defined; mix [rows] int64 on y's device. Throws c10::Error.
void ApplyOutputTerms(const ModuleDelta& delta, const at::Tensor& mix,
                      at::Tensor y);

// x [rows, in] times the input_gain of each row's mix, or x itself if there is
// none. Throws c10::Error.
at::Tensor ScaledInputs(const ModuleDelta& delta, const at::Tensor& mix,
                        const at::Tensor& x);

}  // namespace stockpot

#endif  // STOCKPOT_MODEL_ADD_DELTA_H_
