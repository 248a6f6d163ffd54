#include "merge/dora.h"

#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

namespace stockpot {

namespace {

// Of a wide layer a few megabytes in float64.
constexpr int64_t kLinesAtATime = 64;

}  // namespace

// ||W_j + s B_j A||^2 = ||W_j||^2 + 2 s B_j (A W_j^T) + s^2 B_j (A A^T) B_j^T,
// without the product B A. W is read in the order of its memory, which for an
// embedding and GPT-2's layers is column by column.
at::Tensor DoraGain(const at::Tensor& weight, const at::Tensor& a,
                    const at::Tensor& b, double scale,
                    const at::Tensor& magnitude) {
  const at::Tensor a64 = a.to(at::kDouble);
  const at::Tensor b64 = b.to(at::kDouble) * scale;
  const at::Tensor gram = a64.matmul(a64.t());  // [rank, rank]
  at::Tensor square = at::zeros(weight.size(0), at::kDouble);
  at::Tensor cross = at::zeros(b64.sizes(), at::kDouble);  // A W^T: [out, rank]
  const int64_t dim = weight.stride(0) < weight.stride(1) ? 1 : 0;
  for (int64_t line = 0; line < weight.size(dim); line += kLinesAtATime) {
    const int64_t n = std::min(kLinesAtATime, weight.size(dim) - line);
    const at::Tensor w = weight.narrow(dim, line, n).to(at::kDouble);
    const at::Tensor part = dim == 0 ? a64 : a64.narrow(1, line, n);
    const int64_t first = dim == 0 ? line : 0;
    square.narrow(0, first, w.size(0)).add_(w.square().sum(1));
    cross.narrow(0, first, w.size(0)).add_(w.matmul(part.t()));
  }
  const at::Tensor norm =
      (square + ((2 * cross + b64.matmul(gram)) * b64).sum(1))
          .clamp_min(0)
          .sqrt();
  return (magnitude.to(at::kDouble) / norm).to(at::kFloat);
}

}  // namespace stockpot
