#include "merge/dora.h"

#include <algorithm>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

namespace stockpot {

namespace {

// Of a wide layer a few megabytes in float64.
constexpr int64_t kRowsAtATime = 64;

}  // namespace

// ||W_j + s B_j A||^2 = ||W_j||^2 + 2 s B_j (A W_j^T) + s^2 B_j (A A^T) B_j^T,
// without the product B A.
at::Tensor DoraGain(const at::Tensor& weight, const at::Tensor& a,
                    const at::Tensor& b, double scale,
                    const at::Tensor& magnitude) {
  const at::Tensor a64 = a.to(at::kDouble);
  const at::Tensor b64 = b.to(at::kDouble) * scale;
  const at::Tensor gram = a64.matmul(a64.t());  // [rank, rank]
  std::vector<at::Tensor> squares;
  for (int64_t row = 0; row < weight.size(0); row += kRowsAtATime) {
    const int64_t n = std::min(kRowsAtATime, weight.size(0) - row);
    const at::Tensor w = weight.narrow(0, row, n).to(at::kDouble);
    const at::Tensor bj = b64.narrow(0, row, n);
    const at::Tensor cross = w.matmul(a64.t());  // [n, rank]
    squares.push_back(w.square().sum(1) +
                      ((2 * cross + bj.matmul(gram)) * bj).sum(1));
  }
  const at::Tensor norm = at::cat(squares, 0).clamp_min(0).sqrt();
  return (magnitude.to(at::kDouble) / norm).to(at::kFloat);
}

}  // namespace stockpot
