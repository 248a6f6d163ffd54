#include "merge/methods/compress_then_merge.h"

#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linalg_vector_norm.h>

#include "merge/methods/core_space.h"
#include "merge/methods/decompositions.h"

namespace stockpot {
namespace {

// X_t = left[t] right[t], as Tucker-2 sees the skills.
struct RescaledCores {
  std::vector<at::Tensor> left;   // [m, rank_t] float64 each
  std::vector<at::Tensor> right;  // [rank_t, n] float64 each
  double energy = 0;              // sum_t ||X_t||_F^2
};

struct SharedBases {
  at::Tensor output;  // [m, p] float64, p = min(rank, m)
  at::Tensor input;   // [n, q] float64, q = min(rank, n)
};

RescaledCores Rescale(const CoreSpace& space, double beta) {
  std::vector<double> norms;
  double sum = 0;
  int num_nonzero = 0;
  for (int64_t t = 0; t < space.num_terms(); ++t) {
    norms.push_back(at::linalg_vector_norm(space.Core(t)).item<double>());
    sum += norms.back();
    num_nonzero += norms.back() > 0 ? 1 : 0;
  }
  RescaledCores cores;
  for (int64_t t = 0; t < space.num_terms(); ++t) {
    if (norms[t] == 0) continue;
    const double norm = beta * norms[t] + (1 - beta) * sum / num_nonzero;
    cores.left.push_back(space.left(t) * (norm / norms[t]));
    cores.right.push_back(space.right(t));
    cores.energy += norm * norm;
  }
  return cores;
}

// The leading left singular vectors of [X_1 P | ... | X_T P], where
// X_t P = left[t] projected[t].
Eigenvectors Fit(const std::vector<at::Tensor>& left,
                 const std::vector<at::Tensor>& projected, int64_t rank) {
  std::vector<at::Tensor> products;  // [m, columns of P] each
  for (size_t t = 0; t < left.size(); ++t) {
    products.push_back(left[t].matmul(projected[t]));
  }
  const at::Tensor stack = at::cat(products, 1);
  return LeadingEigenvectors(stack.matmul(stack.t()), rank);
}

std::vector<at::Tensor> Times(const std::vector<at::Tensor>& factors,
                              const at::Tensor& basis) {
  std::vector<at::Tensor> products;
  for (const at::Tensor& factor : factors) {
    products.push_back(factor.matmul(basis));
  }
  return products;
}

std::vector<at::Tensor> Transposed(const std::vector<at::Tensor>& factors) {
  std::vector<at::Tensor> transposed;
  for (const at::Tensor& factor : factors) {
    transposed.push_back(factor.t());
  }
  return transposed;
}

SharedBases Tucker2(const RescaledCores& cores, int64_t rank,
                    const TuckerOptions& options) {
  const std::vector<at::Tensor> left_t = Transposed(cores.left);
  const std::vector<at::Tensor> right_t = Transposed(cores.right);
  // HOSVD. Its output basis is not needed: the first round finds a better one.
  SharedBases bases;
  bases.input = Fit(right_t, left_t, rank).vectors;
  double share = 0;
  for (int i = 0; i < options.max_iterations; ++i) {
    bases.output =
        Fit(cores.left, Times(cores.right, bases.input), rank).vectors;
    const Eigenvectors input = Fit(right_t, Times(left_t, bases.output), rank);
    bases.input = input.vectors;
    const double before = share;
    share = input.values.sum().item<double>() / cores.energy;
    if (share - before < options.tolerance) break;
  }
  return bases;
}

// Of as many ranks as the smaller basis has. `merged` is [p, q] float32.
LowRank Product(const CoreSpace& space, const SharedBases& bases,
                const at::Tensor& merged) {
  const at::Tensor core = merged.to(at::kDouble);
  const at::Tensor vt = bases.input.t();
  if (core.size(0) < core.size(1)) {
    return {space.Inputs(core.matmul(vt)), space.Outputs(bases.output)};
  }
  return {space.Inputs(vt), space.Outputs(bases.output.matmul(core))};
}

}  // namespace

LowRank CompressThenMerge(absl::Span<const MergeTerm> terms, int64_t rank,
                          const EntryRule& rule, const TuckerOptions& options) {
  const CoreSpace space(terms);
  const RescaledCores cores = Rescale(space, options.beta);
  if (cores.left.empty()) {
    return space.Lift(space.Sum(), rank);  // Zero.
  }
  const SharedBases bases = Tucker2(cores, rank, options);
  std::vector<at::Tensor> compressed;  // O_t, [p, q] float32 each
  for (int64_t t = 0; t < space.num_terms(); ++t) {
    compressed.push_back(bases.output.t()
                             .matmul(space.left(t))
                             .matmul(space.right(t).matmul(bases.input))
                             .to(at::kFloat));
  }
  return Product(space, bases, rule(compressed, space.weights()));
}

}  // namespace stockpot
