#include "merge/methods/iso.h"

#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/linalg_vector_norm.h>

#include "merge/methods/core_space.h"
#include "merge/methods/decompositions.h"

namespace stockpot {

LowRank MergeIso(absl::Span<const MergeTerm> terms, int64_t rank) {
  const CoreSpace space(terms);
  // Skills that cancel leave rounding, which must not be made as large as they.
  double largest = 0;
  for (int64_t t = 0; t < space.num_terms(); ++t) {
    const double norm = at::linalg_vector_norm(space.Core(t)).item<double>();
    largest = std::max(largest, norm * std::abs(space.weights()[t]));
  }
  Triplets triplets = LeadingTriplets(space.Sum(), rank);
  const Triplets kept = Above(triplets, kNegligible * largest);
  const double mean = kept.s.numel() == 0 ? 0 : kept.s.mean().item<double>();
  // Ranks that are not kept stay, as zeros: results have a rank that follows
  // from shapes alone.
  at::Tensor flat = at::full_like(triplets.s, mean);
  flat.narrow(0, kept.s.numel(), flat.numel() - kept.s.numel()).zero_();
  return {space.Inputs(triplets.v.t()), space.Outputs(triplets.u * flat)};
}

}  // namespace stockpot
