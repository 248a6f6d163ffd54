#include "merge/methods/decompositions.h"

#include <algorithm>
#include <tuple>

#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/where.h>

namespace stockpot {
namespace {

// [columns]: 1, or -1 where the entry of largest magnitude is negative.
at::Tensor ColumnSigns(const at::Tensor& x) {
  const at::Tensor largest = x.gather(0, x.abs().argmax(0, /*keepdim=*/true));
  return at::where(largest.squeeze(0) < 0, -1.0, 1.0).to(x.scalar_type());
}

// x divided by the norms of its columns, and the norms; zero columns stay.
std::tuple<at::Tensor, at::Tensor> Normalized(const at::Tensor& x) {
  const at::Tensor norms = at::linalg_vector_norm(x, 2, at::IntArrayRef({0}));
  return {x / at::where(norms > 0, norms, 1.0), norms};
}

}  // namespace

ThinQr QrOf(const at::Tensor& x) {
  auto [q, r] = at::linalg_qr(x, "reduced");
  return {q, r.to(at::kDouble)};
}

at::Tensor ROf(const at::Tensor& x) {
  return std::get<1>(at::linalg_qr(x, "r")).to(at::kDouble);
}

Eigenvectors LeadingEigenvectors(const at::Tensor& gram, int64_t rank) {
  // By rising eigenvalue.
  const auto [values, vectors] = at::linalg_eigh(gram, "L");
  const int64_t n = gram.size(0);
  const int64_t k = std::min(rank, n);
  const at::Tensor leading = vectors.narrow(1, n - k, k).flip(1);
  return {values.narrow(0, n - k, k).flip(0).clamp_min(0),
          leading * ColumnSigns(leading)};
}

Triplets LeadingTriplets(const at::Tensor& x, int64_t rank) {
  if (x.size(0) > x.size(1)) {
    const Triplets flipped = LeadingTriplets(x.t(), rank);
    return {flipped.v, flipped.s, flipped.u};
  }
  const at::Tensor u = LeadingEigenvectors(x.matmul(x.t()), rank).vectors;
  const auto [v, s] = Normalized(x.t().matmul(u));
  return {u, s, v};
}

Triplets Above(const Triplets& triplets, double floor) {
  const int64_t k = (triplets.s > floor).sum().item<int64_t>();
  return {triplets.u.narrow(1, 0, k), triplets.s.narrow(0, 0, k),
          triplets.v.narrow(1, 0, k)};
}

LowRank TruncatedProduct(const at::Tensor& left, const at::Tensor& core,
                         const at::Tensor& right, int64_t rank) {
  const Triplets core_triplets = LeadingTriplets(core, rank);
  const at::Tensor us =
      (core_triplets.u * core_triplets.s).to(at::kFloat);  // [m, rank]
  const at::Tensor vt = core_triplets.v.t().to(at::kFloat);
  const at::Tensor a = vt.matmul(right);  // [rank, in]
  const at::Tensor signs = ColumnSigns(a.t());
  return {a * signs.unsqueeze(1), left.matmul(us * signs)};
}

double FrobeniusNorm(const LowRank& update) {
  const at::Tensor core = ROf(update.b).matmul(ROf(update.a.t()).t());
  return at::linalg_vector_norm(core).item<double>();
}

}  // namespace stockpot
