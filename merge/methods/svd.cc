#include "merge/methods/svd.h"

#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

#include "merge/methods/decompositions.h"

namespace stockpot {

LowRank Concatenate(absl::Span<const MergeTerm> terms) {
  std::vector<at::Tensor> a;
  std::vector<at::Tensor> b;
  for (const MergeTerm& term : terms) {
    a.push_back(term.a * (term.weight * term.scale));
    b.push_back(term.b);
  }
  return {at::cat(a, 0), at::cat(b, 1)};
}

LowRank TruncateSvd(const LowRank& update, int64_t rank) {
  if (rank >= update.a.size(0)) {
    return update;
  }
  const ThinQr b(update.b);
  const ThinQr a(update.a.t());
  return TruncatedProduct(b, b.r().matmul(a.r().t()), a, rank);
}

LowRank MergeSvd(absl::Span<const MergeTerm> terms, int64_t rank) {
  return TruncateSvd(Concatenate(terms), rank);
}

}  // namespace stockpot
