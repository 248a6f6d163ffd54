#include "merge/methods/factor_space.h"

#include <cmath>
#include <vector>

#include <ATen/ops/zeros_like.h>

#include "merge/methods/entries.h"

namespace stockpot {

namespace {

// The factors of all terms and what multiplies them.
struct Sides {
  std::vector<at::Tensor> a;
  std::vector<at::Tensor> b;
  std::vector<double> a_weights;
  std::vector<double> b_weights;
};

Sides SplitEvenly(absl::Span<const MergeTerm> terms) {
  Sides sides;
  for (const MergeTerm& term : terms) {
    const double scaled = term.weight * term.scale;
    const double root = std::sqrt(std::abs(scaled));
    sides.a.push_back(term.a);
    sides.b.push_back(term.b);
    sides.a_weights.push_back(std::copysign(root, scaled));
    sides.b_weights.push_back(root);
  }
  return sides;
}

at::Tensor WeightedSum(const std::vector<at::Tensor>& terms,
                       const std::vector<double>& weights) {
  at::Tensor sum = at::zeros_like(terms[0]);
  for (size_t i = 0; i < terms.size(); ++i) {
    sum.add_(terms[i], weights[i]);
  }
  return sum;
}

}  // namespace

LowRank MergeLinear(absl::Span<const MergeTerm> terms) {
  const Sides sides = SplitEvenly(terms);
  return {.a = WeightedSum(sides.a, sides.a_weights),
          .b = WeightedSum(sides.b, sides.b_weights)};
}

LowRank MergeLoraHub(absl::Span<const MergeTerm> terms) {
  Sides sides;
  for (const MergeTerm& term : terms) {
    sides.a.push_back(term.a);
    sides.b.push_back(term.b);
    sides.a_weights.push_back(term.weight);
    sides.b_weights.push_back(term.weight * term.scale);
  }
  return {.a = WeightedSum(sides.a, sides.a_weights),
          .b = WeightedSum(sides.b, sides.b_weights)};
}

LowRank MergeFactors(absl::Span<const MergeTerm> terms,
                     const MergeOptions& options, uint64_t stream) {
  const Sides sides = SplitEvenly(terms);
  // Masks of A and of B are independent.
  return {.a = MergeEntries(sides.a, sides.a_weights, options, 2 * stream),
          .b = MergeEntries(sides.b, sides.b_weights, options, 2 * stream + 1)};
}

}  // namespace stockpot
