#include "model/delta_kernels.h"

#include <cstring>

#include "model/cpu_targets.h"

namespace stockpot::kernels {

namespace {

constexpr int64_t kLanes = 16;
using Lanes = float __attribute__((vector_size(64)));
using HalfLanes = uint16_t __attribute__((vector_size(32)));
using BitLanes = uint32_t __attribute__((vector_size(64)));

STOCKPOT_INLINE void LoadLanes(const float* p, Lanes* v) {
  std::memcpy(v, p, sizeof(*v));
}
STOCKPOT_INLINE void LoadLanes(const Bf16* p, Lanes* v) {
  HalfLanes half;
  std::memcpy(&half, p, sizeof(half));
  const BitLanes bits = __builtin_convertvector(half, BitLanes) << 16;
  std::memcpy(v, &bits, sizeof(*v));
}

STOCKPOT_INLINE float SumOf(const Lanes& v) {
  float part[kLanes];
  std::memcpy(part, &v, sizeof(part));
  for (int64_t width = kLanes / 2; width > 0; width /= 2) {
    for (int64_t i = 0; i < width; ++i) {
      part[i] += part[i + width];
    }
  }
  return part[0];
}

// kRows rows of x by kRanks rows of a: t[i][r]. Each load serves several
// products.
template <int kRows, int kRanks, typename T>
STOCKPOT_INLINE void ShrinkTile(const T* x, int64_t x_stride,
                                const int32_t* rows, const T* a, int64_t in,
                                float* t, int64_t t_stride) {
  Lanes sum[kRows][kRanks] = {};
  const T* row[kRows];
  for (int i = 0; i < kRows; ++i) {
    row[i] = x + rows[i] * x_stride;
  }
  int64_t k = 0;
  for (; k + kLanes <= in; k += kLanes) {
    Lanes factor[kRanks];
#pragma GCC unroll 4
    for (int r = 0; r < kRanks; ++r) {
      LoadLanes(a + r * in + k, &factor[r]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      Lanes value;
      LoadLanes(row[i] + k, &value);
#pragma GCC unroll 4
      for (int r = 0; r < kRanks; ++r) {
        sum[i][r] += value * factor[r];
      }
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int r = 0; r < kRanks; ++r) {
      float rest = SumOf(sum[i][r]);
      for (int64_t j = k; j < in; ++j) {
        rest += Load(row[i][j]) * Load(a[r * in + j]);
      }
      t[i * t_stride + r] = rest;
    }
  }
}

template <int kRows, typename T>
STOCKPOT_INLINE void ShrinkRows(const T* x, int64_t x_stride,
                                const int32_t* rows, const T* a, int64_t rank,
                                int64_t in, float* t, int64_t t_stride) {
  int64_t r = 0;
  for (; r + 4 <= rank; r += 4) {
    ShrinkTile<kRows, 4>(x, x_stride, rows, a + r * in, in, t + r, t_stride);
  }
  for (; r < rank; ++r) {
    ShrinkTile<kRows, 1>(x, x_stride, rows, a + r * in, in, t + r, t_stride);
  }
}

template <typename T>
STOCKPOT_INLINE void ShrinkBody(const T* x, int64_t x_stride, RowList rows,
                                const T* a, int64_t rank, int64_t in, float* t,
                                int64_t t_stride) {
  int64_t i = 0;
  for (; i + 4 <= rows.size; i += 4) {
    ShrinkRows<4>(x, x_stride, rows.index + i, a, rank, in, t + i * t_stride,
                  t_stride);
  }
  if (i + 2 <= rows.size) {
    ShrinkRows<2>(x, x_stride, rows.index + i, a, rank, in, t + i * t_stride,
                  t_stride);
    i += 2;
  }
  if (i < rows.size) {
    ShrinkRows<1>(x, x_stride, rows.index + i, a, rank, in, t + i * t_stride,
                  t_stride);
  }
}

// kRows rows of sums by kColumns * kLanes columns.
template <int kRows, int kColumns, typename T>
STOCKPOT_INLINE void ExpandTile(const float* v, const int32_t* rows, const T* b,
                                int64_t b_stride, int64_t rank, float* sums,
                                int64_t sums_stride) {
  Lanes sum[kRows][kColumns];
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) {
      LoadLanes(sums + rows[i] * sums_stride + c * kLanes, &sum[i][c]);
    }
  }
  for (int64_t r = 0; r < rank; ++r) {
    Lanes factor[kColumns];
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) {
      LoadLanes(b + r * b_stride + c * kLanes, &factor[c]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      const float value = v[i * rank + r];
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) {
        sum[i][c] += value * factor[c];
      }
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) {
      std::memcpy(sums + rows[i] * sums_stride + c * kLanes, &sum[i][c],
                  sizeof(Lanes));
    }
  }
}

template <int kRows, typename T>
STOCKPOT_INLINE void ExpandRows(const float* v, const int32_t* rows, const T* b,
                                int64_t b_stride, int64_t rank, int64_t n,
                                float* sums, int64_t sums_stride) {
  int64_t j = 0;
  for (; j + 4 * kLanes <= n; j += 4 * kLanes) {
    ExpandTile<kRows, 4>(v, rows, b + j, b_stride, rank, sums + j, sums_stride);
  }
  for (; j + kLanes <= n; j += kLanes) {
    ExpandTile<kRows, 1>(v, rows, b + j, b_stride, rank, sums + j, sums_stride);
  }
  for (; j < n; ++j) {
    for (int i = 0; i < kRows; ++i) {
      float sum = 0;
      for (int64_t r = 0; r < rank; ++r) {
        sum += v[i * rank + r] * Load(b[r * b_stride + j]);
      }
      sums[rows[i] * sums_stride + j] += sum;
    }
  }
}

template <typename T>
STOCKPOT_INLINE void ExpandBody(const float* v, RowList rows, const T* b,
                                int64_t b_stride, int64_t rank, int64_t n,
                                float* sums, int64_t sums_stride) {
  int64_t i = 0;
  for (; i + 4 <= rows.size; i += 4) {
    ExpandRows<4>(v + i * rank, rows.index + i, b, b_stride, rank, n, sums,
                  sums_stride);
  }
  if (i + 2 <= rows.size) {
    ExpandRows<2>(v + i * rank, rows.index + i, b, b_stride, rank, n, sums,
                  sums_stride);
    i += 2;
  }
  if (i < rows.size) {
    ExpandRows<1>(v + i * rank, rows.index + i, b, b_stride, rank, n, sums,
                  sums_stride);
  }
}

template <typename T>
STOCKPOT_INLINE void AddToBody(const float* sums, int64_t n, T* y) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    Store(Load(y[j]) + sums[j], &y[j]);
  }
}

}  // namespace

STOCKPOT_PER_CPU void Shrink(const float* x, int64_t x_stride, RowList rows,
                             const float* a, int64_t rank, int64_t in, float* t,
                             int64_t t_stride) {
  ShrinkBody(x, x_stride, rows, a, rank, in, t, t_stride);
}
STOCKPOT_PER_CPU void Shrink(const Bf16* x, int64_t x_stride, RowList rows,
                             const Bf16* a, int64_t rank, int64_t in, float* t,
                             int64_t t_stride) {
  ShrinkBody(x, x_stride, rows, a, rank, in, t, t_stride);
}

STOCKPOT_PER_CPU void Expand(const float* v, RowList rows, const float* b,
                             int64_t b_stride, int64_t rank, int64_t n,
                             float* sums, int64_t sums_stride) {
  ExpandBody(v, rows, b, b_stride, rank, n, sums, sums_stride);
}
STOCKPOT_PER_CPU void Expand(const float* v, RowList rows, const Bf16* b,
                             int64_t b_stride, int64_t rank, int64_t n,
                             float* sums, int64_t sums_stride) {
  ExpandBody(v, rows, b, b_stride, rank, n, sums, sums_stride);
}

STOCKPOT_PER_CPU void AddTo(const float* sums, int64_t n, float* y) {
  AddToBody(sums, n, y);
}
STOCKPOT_PER_CPU void AddTo(const float* sums, int64_t n, Bf16* y) {
  AddToBody(sums, n, y);
}

}  // namespace stockpot::kernels
