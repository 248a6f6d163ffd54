#include "merge/methods/knots.h"

#include <vector>

#include <ATen/TensorOperators.h>

#include "merge/methods/core_space.h"
#include "merge/methods/decompositions.h"

namespace stockpot {

LowRank MergeKnots(absl::Span<const MergeTerm> terms, const EntryRule& rule,
                   int64_t rank) {
  const CoreSpace space(terms);
  // [dW_1 | ...] = U_core [core_1 | ...] (orthonormal rows), so the left
  // singular vectors are those of the cores: eigenvectors of their Gram matrix.
  at::Tensor gram;  // [m, m]
  for (int64_t t = 0; t < space.num_terms(); ++t) {
    const at::Tensor core = space.Core(t);
    const at::Tensor product = core.matmul(core.t());
    gram = t == 0 ? product : gram + product;
  }
  const at::Tensor u = LeadingEigenvectors(gram, kAllRanks).vectors;
  std::vector<at::Tensor> rotated;  // [m, in] each: S V_t = U^T dW_t
  for (int64_t t = 0; t < space.num_terms(); ++t) {
    rotated.push_back(
        u.t().matmul(space.left(t)).to(at::kFloat).matmul(terms[t].a));
  }
  // U has orthonormal columns, so that only the small part needs decomposing.
  const LowRank small =
      TruncateSvd({rule(rotated, space.weights()), u.to(at::kFloat)}, rank);
  return {small.a, space.Outputs(small.b)};
}

}  // namespace stockpot
