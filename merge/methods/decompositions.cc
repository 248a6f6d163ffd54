#include "merge/methods/decompositions.h"

#include <algorithm>
#include <tuple>

#include <ATen/TensorOperators.h>
#include <ATen/ops/geqrf.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/ormqr.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

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

ThinQr::ThinQr(const at::Tensor& x) {
  const auto [packed, tau] = at::geqrf(x);
  const int64_t k = tau.size(0);
  reflectors_ = packed.narrow(1, 0, k);
  tau_ = tau;
  r_ = packed.narrow(0, 0, k).triu().to(at::kDouble);
}

at::Tensor ThinQr::Times(const at::Tensor& y) const {
  // The full Q times y over zeros, in place; LAPACK wants contiguous columns.
  const at::Tensor padded =
      at::zeros({y.size(1), reflectors_.size(0)}, at::kFloat).t();
  padded.narrow(0, 0, size()).copy_(y);
  return at::ormqr(reflectors_, tau_, padded);
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

LowRank TruncatedProduct(const ThinQr& left, const at::Tensor& core,
                         const ThinQr& right, int64_t rank) {
  const Triplets triplets = LeadingTriplets(core, rank);
  const at::Tensor v = right.Times(triplets.v);  // [in, rank]
  const at::Tensor signs = ColumnSigns(v);
  return {(v * signs).t(), left.Times(triplets.u * (triplets.s * signs))};
}

double FrobeniusNorm(const LowRank& update) {
  const at::Tensor core =
      ThinQr(update.b).r().matmul(ThinQr(update.a.t()).r().t());
  return at::linalg_vector_norm(core).item<double>();
}

}  // namespace stockpot
