// The two halves of a low-rank update on the CPU, for the rows of a step that
// use one skill: each is called from several threads on parts of its output.
//
// Plain pointers, no torch. Sums are kept in float32 whatever the storage type.
// Compiled for three x86-64 levels, as model/cpu_kernels.h.

#ifndef STOCKPOT_MODEL_DELTA_KERNELS_H_
#define STOCKPOT_MODEL_DELTA_KERNELS_H_

#include <cstdint>

#include "model/cpu_kernels.h"

namespace stockpot::kernels {

// Rows [num_rows] of a larger matrix, by index.
struct RowList {
  const int32_t* index = nullptr;
  int64_t size = 0;
};

// t[i][r] = sum_k x[rows[i]][k] * a[r][k].
// x [.., in] with `x_stride` between rows, a [rank, in], t [rows, rank] with
// `t_stride` between rows.
void Shrink(const float* x, int64_t x_stride, RowList rows, const float* a,
            int64_t rank, int64_t in, float* t, int64_t t_stride);
void Shrink(const Bf16* x, int64_t x_stride, RowList rows, const Bf16* a,
            int64_t rank, int64_t in, float* t, int64_t t_stride);

// sums[rows[i]][j] += sum_r v[i][r] * b[r][j] for j in [0, n).
// v [rows, rank], b [rank, >= n] with `b_stride` between rows, sums [.., n]
// with `sums_stride` between rows.
void Expand(const float* v, RowList rows, const float* b, int64_t b_stride,
            int64_t rank, int64_t n, float* sums, int64_t sums_stride);
void Expand(const float* v, RowList rows, const Bf16* b, int64_t b_stride,
            int64_t rank, int64_t n, float* sums, int64_t sums_stride);

// y += sums, [n].
void AddTo(const float* sums, int64_t n, float* y);
void AddTo(const float* sums, int64_t n, Bf16* y);

}  // namespace stockpot::kernels

#endif  // STOCKPOT_MODEL_DELTA_KERNELS_H_
