// Random skills of one module, and entry rules, for tests of merge/methods.

#ifndef STOCKPOT_TESTS_MERGE_MERGE_TERMS_H_
#define STOCKPOT_TESTS_MERGE_MERGE_TERMS_H_

#include <cmath>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "merge/methods/entry_rule.h"
#include "merge/methods/low_rank.h"

namespace stockpot::testing {

// The dense update, [out, in] float64.
inline at::Tensor Dense(const LowRank& update) {
  return update.b.to(at::kDouble).matmul(update.a.to(at::kDouble));
}
// Without the weight.
inline at::Tensor Dense(const MergeTerm& term) {
  return Dense(LowRank{term.a, term.b}) * term.scale;
}
inline at::Tensor DenseSum(absl::Span<const MergeTerm> terms) {
  at::Tensor sum = Dense(terms[0]) * terms[0].weight;
  for (const MergeTerm& term : terms.subspan(1)) {
    sum = sum + Dense(term) * term.weight;
  }
  return sum;
}

inline double Norm(const at::Tensor& x) {
  return at::linalg_vector_norm(x.to(at::kDouble)).item<double>();
}

// ||x - y|| / ||y||, or ||x|| where y is zero.
inline double RelativeError(const at::Tensor& x, const at::Tensor& y) {
  const double norm = Norm(y);
  return Norm(x.to(at::kDouble) - y.to(at::kDouble)) / (norm > 0 ? norm : 1);
}

inline MergeTerm RandomTerm(int64_t out, int64_t in, int64_t rank,
                            uint64_t seed, double weight = 1,
                            double scale = 2) {
  at::manual_seed(seed);
  const at::Tensor a = at::randn({rank, in}, at::kFloat);
  return {a / std::sqrt(static_cast<double>(in)),
          at::randn({out, rank}, at::kFloat), scale, weight};
}

inline MergeTerm ZeroTerm(int64_t out, int64_t in, int64_t rank) {
  MergeTerm term = RandomTerm(out, in, rank, /*seed=*/99);
  term.b = at::zeros({out, rank}, at::kFloat);
  return term;
}

// sum_i weights[i] terms[i].
inline at::Tensor SumRule(absl::Span<const at::Tensor> terms,
                          absl::Span<const double> weights) {
  at::Tensor sum = at::zeros_like(terms[0]);
  for (size_t i = 0; i < terms.size(); ++i) {
    sum = sum + terms[i] * weights[i];
  }
  return sum;
}

// entry_rule() of tests/golden/make_merge_method_goldens.py.
inline EntryRule TrimAndElect(double density) {
  return [density](absl::Span<const at::Tensor> terms,
                   absl::Span<const double> weights) {
    std::vector<at::Tensor> kept;
    at::Tensor sum = at::zeros_like(terms[0]);
    for (size_t i = 0; i < terms.size(); ++i) {
      const at::Tensor size = terms[i].abs();
      const auto k =
          static_cast<int64_t>(density * static_cast<double>(terms[i].numel()));
      const at::Tensor threshold = std::get<0>(size.flatten().topk(k)).min();
      kept.push_back(terms[i] * (size >= threshold) * weights[i]);
      sum = sum + kept.back();
    }
    const at::Tensor sign = at::where(sum >= 0, 1.0, -1.0).to(at::kFloat);
    at::Tensor agreeing = at::zeros_like(sum);
    at::Tensor count = at::zeros_like(sum);
    for (const at::Tensor& term : kept) {
      const at::Tensor agrees = term * sign > 0;
      agreeing = agreeing + term * agrees;
      count = count + agrees;
    }
    return agreeing / count.clamp_min(1);
  };
}

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_MERGE_MERGE_TERMS_H_
