#include "merge/methods/streamed_svd.h"

#include <algorithm>
#include <tuple>

#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include "merge/methods/entry_random.h"

namespace stockpot {

namespace {

// [rows, cols], uniform in [-1, 1).
at::Tensor FixedStart(int64_t rows, int64_t cols) {
  at::Tensor start = at::empty({rows, cols}, at::kFloat);
  float* const values = start.data_ptr<float>();
  const EntryRandom random(/*seed=*/0, /*stream=*/0, /*term=*/0);
  for (int64_t i = 0; i < start.numel(); ++i) {
    values[i] = static_cast<float>(random.Bits(i)) * 0x1p-31f - 1;
  }
  return start;
}

at::Tensor Orthonormal(const at::Tensor& x) {
  return std::get<0>(at::linalg_qr(x, "reduced"));
}

// One pass: M V into `y`; returns M^T M V.
at::Tensor Pass(const RowSource& matrix, const at::Tensor& v, at::Tensor* y) {
  at::Tensor z = at::zeros({matrix.cols, v.size(1)}, at::kFloat);
  for (int64_t first = 0; first < matrix.rows; first += matrix.block_rows) {
    const int64_t count = std::min(matrix.block_rows, matrix.rows - first);
    const at::Tensor block = matrix.get(first, count);
    at::Tensor part = y->narrow(0, first, count);
    part.copy_(block.matmul(v));
    z.addmm_(block.t(), part);
  }
  return z;
}

// Makes the entry of largest magnitude of each row of a positive.
void FixSigns(LowRank* update) {
  const at::Tensor largest =
      update->a.gather(1, update->a.abs().argmax(1, /*keepdim=*/true));
  const at::Tensor one = at::ones_like(largest);
  const at::Tensor sign = at::where(largest.lt(0), one.neg(), one);
  update->a = update->a.mul(sign);
  update->b = update->b.mul(sign.t());
}

}  // namespace

LowRank StreamedSvd(const RowSource& matrix, int64_t rank,
                    const StreamedSvdOptions& options) {
  const int64_t limit = std::min(matrix.rows, matrix.cols);
  rank = std::min(rank, limit);
  const int64_t width = std::min(rank + options.oversampling, limit);
  at::Tensor v = Orthonormal(FixedStart(matrix.cols, width));
  at::Tensor y = at::empty({matrix.rows, width}, at::kFloat);
  double energy = 0;
  at::Tensor leading;  // [width, rank] float64
  for (int pass = 1;; ++pass) {
    const at::Tensor z = Pass(matrix, v, &y);
    const at::Tensor wide = y.to(at::kDouble);
    const auto [values, vectors] = at::linalg_eigh(wide.t().matmul(wide));
    // Ascending: the last are the leading ones.
    const double now =
        values.narrow(0, width - rank, rank).clamp_min(0).sum().item<double>();
    leading = vectors.narrow(1, width - rank, rank).flip(1);
    if (now - energy <= options.tolerance * now || pass == options.max_passes) {
      break;
    }
    energy = now;
    v = Orthonormal(z);
  }
  const at::Tensor rotation = leading.to(at::kFloat);
  LowRank update{.a = v.matmul(rotation).t().contiguous(),
                 .b = y.matmul(rotation)};
  FixSigns(&update);
  return update;
}

}  // namespace stockpot
