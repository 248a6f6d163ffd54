#include "merge/methods/streamed_svd.h"

#include <algorithm>
#include <tuple>

#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>

#include "merge/methods/entry_random.h"

namespace stockpot {

namespace {

constexpr int64_t kGramRows = 4096;

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

// What one pass over the rows gives.
struct Products {
  at::Tensor y;     // M V, [rows, width]
  at::Tensor z;     // M^T M V, [cols, width]
  at::Tensor gram;  // (M V)^T (M V), [width, width] float64
};

void Pass(const RowSource& matrix, const at::Tensor& v, Products* products) {
  products->z.zero_();
  products->gram.zero_();
  for (int64_t first = 0; first < matrix.rows; first += matrix.block_rows) {
    const int64_t count = std::min(matrix.block_rows, matrix.rows - first);
    const at::Tensor block = matrix.get(first, count);
    at::Tensor y = products->y.narrow(0, first, count);
    at::mm_out(y, block, v);
    products->z.addmm_(block.t(), y);
    // In pieces, because float64 takes twice the memory.
    for (int64_t at = 0; at < count; at += kGramRows) {
      const at::Tensor wide =
          y.narrow(0, at, std::min(kGramRows, count - at)).to(at::kDouble);
      products->gram.addmm_(wide.t(), wide);
    }
  }
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
  Products products{.y = at::empty({matrix.rows, width}, at::kFloat),
                    .z = at::empty({matrix.cols, width}, at::kFloat),
                    .gram = at::empty({width, width}, at::kDouble)};
  double energy = 0;
  at::Tensor leading;  // [width, rank] float64
  for (int pass = 1;; ++pass) {
    Pass(matrix, v, &products);
    const auto [values, vectors] = at::linalg_eigh(products.gram);
    // Ascending: the last are the leading ones.
    const double now =
        values.narrow(0, width - rank, rank).clamp_min(0).sum().item<double>();
    leading = vectors.narrow(1, width - rank, rank).flip(1);
    if (now - energy <= options.tolerance * now || pass == options.max_passes) {
      break;
    }
    energy = now;
    v = Orthonormal(products.z);
  }
  const at::Tensor rotation = leading.to(at::kFloat);
  LowRank update{.a = v.matmul(rotation).t().contiguous(),
                 .b = products.y.matmul(rotation)};
  FixSigns(&update);
  return update;
}

}  // namespace stockpot
