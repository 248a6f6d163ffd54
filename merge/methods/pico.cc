#include "merge/methods/pico.h"

#include <cmath>
#include <cstdint>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

#include "merge/methods/decompositions.h"
#include "merge/methods/svd.h"

namespace stockpot {

std::vector<MergeTerm> CalibratedTerms(absl::Span<const MergeTerm> terms) {
  std::vector<MergeTerm> calibrated(terms.begin(), terms.end());
  if (terms.size() < 2) {
    return calibrated;
  }
  std::vector<at::Tensor> b;
  for (const MergeTerm& term : terms) {
    b.push_back(term.b);
  }
  const ThinQr qr(at::cat(b, 1));  // [out, k] [k, sum of ranks]
  const Eigenvectors u =
      LeadingEigenvectors(qr.r().matmul(qr.r().t()), kAllRanks);
  const double total = u.values.sum().item<double>();
  if (total == 0) {
    return calibrated;
  }
  const double others = static_cast<double>(terms.size()) - 1;
  const at::Tensor sigma = u.values / total;                    // [k]
  const at::Tensor change = (1 + sigma * others).pow(-1) - 1;   // alpha - 1
  const at::Tensor coordinates = u.vectors.t().matmul(qr.r());  // U^T [b_1 ...]
  const at::Tensor correction =
      qr.Times((u.vectors * change).matmul(coordinates));
  int64_t offset = 0;
  for (MergeTerm& term : calibrated) {
    const int64_t rank = term.b.size(1);
    term.b = term.b + correction.narrow(1, offset, rank);
    offset += rank;
  }
  return calibrated;
}

LowRank Rescaled(const LowRank& merged, absl::Span<const MergeTerm> terms) {
  double mean = 0;
  for (const MergeTerm& term : terms) {
    mean += std::abs(term.weight * term.scale) *
            FrobeniusNorm({term.a, term.b}) / static_cast<double>(terms.size());
  }
  const double norm = FrobeniusNorm(merged);
  if (norm <= kNegligible * mean) {
    return merged;
  }
  return {merged.a, merged.b * (mean / norm)};
}

}  // namespace stockpot
