#include "merge/methods/tsv.h"

#include <algorithm>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linalg_qr.h>

#include "merge/methods/core_space.h"
#include "merge/methods/decompositions.h"

namespace stockpot {
namespace {

// Of left right, for the price of its rank.
Triplets TripletsOf(const at::Tensor& left, const at::Tensor& right) {
  const auto [ql, rl] = at::linalg_qr(left);       // [m, k] [k, rank]
  const auto [qr, rr] = at::linalg_qr(right.t());  // [n, l] [l, rank]
  const Triplets small = LeadingTriplets(rl.matmul(rr.t()), kAllRanks);
  const Triplets triplets{ql.matmul(small.u), small.s, qr.matmul(small.v)};
  const double largest = triplets.s.max().item<double>();
  return Above(triplets, kNegligible * largest);
}

// Columns have norm 1, so what is negligible needs no scale.
at::Tensor PolarFactor(const at::Tensor& x) {
  const Triplets triplets = Above(LeadingTriplets(x, kAllRanks), kNegligible);
  return triplets.u.matmul(triplets.v.t());
}

}  // namespace

LowRank MergeTsv(absl::Span<const MergeTerm> terms, int64_t rank) {
  const CoreSpace space(terms);
  std::vector<at::Tensor> u;
  std::vector<at::Tensor> s;
  std::vector<at::Tensor> v;
  for (int64_t t = 0; t < space.num_terms(); ++t) {
    const Triplets triplets = TripletsOf(space.left(t), space.right(t));
    u.push_back(triplets.u);
    s.push_back(triplets.s * space.weights()[t]);
    v.push_back(triplets.v);
  }
  const at::Tensor all_s = at::cat(s);
  if (all_s.numel() == 0) {
    return space.Lift(space.Sum(), rank);  // Zero.
  }
  const at::Tensor left = PolarFactor(at::cat(u, 1));   // [m, triplets]
  const at::Tensor right = PolarFactor(at::cat(v, 1));  // [n, triplets]
  return space.Lift((left * all_s).matmul(right.t()), rank);
}

}  // namespace stockpot
