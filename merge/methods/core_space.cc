#include "merge/methods/core_space.h"

#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/ops/aminmax.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

namespace stockpot {
namespace {

bool IsZero(const at::Tensor& x) {
  const auto [min, max] = at::aminmax(x);
  return min.item<float>() == 0 && max.item<float>() == 0;
}

// Whether each term takes part in the bases; all do if all are zero.
std::vector<bool> InStack(absl::Span<const MergeTerm> terms) {
  std::vector<bool> in_stack;
  for (const MergeTerm& term : terms) {
    in_stack.push_back(!IsZero(term.a) && !IsZero(term.b));
  }
  if (std::none_of(in_stack.begin(), in_stack.end(),
                   [](bool is_in) { return is_in; })) {
    in_stack.assign(terms.size(), true);
  }
  return in_stack;
}

at::Tensor Stack(absl::Span<const MergeTerm> terms,
                 const std::vector<bool>& in_stack,
                 at::Tensor MergeTerm::*factor, int64_t dimension) {
  std::vector<at::Tensor> factors;
  for (size_t t = 0; t < terms.size(); ++t) {
    if (in_stack[t]) {
      factors.push_back(terms[t].*factor);
    }
  }
  return at::cat(factors, dimension);
}

}  // namespace

CoreSpace::Basis::Basis(const at::Tensor& stack) : qr(stack) {
  const at::Tensor& r = qr.r();
  rotation = LeadingEigenvectors(r.matmul(r.t()), kAllRanks).vectors;
  coordinates = rotation.t().matmul(r);
  // Signs that follow from the stack alone, and not from how its QR came out:
  // each vector's largest coordinate is positive.
  const at::Tensor largest = coordinates.gather(
      1, coordinates.abs().argmax(1, /*keepdim=*/true));  // [k, 1]
  const at::Tensor signs = at::where(largest < 0, -1.0, 1.0).to(at::kDouble);
  coordinates = coordinates * signs;
  rotation = rotation * signs.t();
}

CoreSpace::CoreSpace(absl::Span<const MergeTerm> terms)
    : CoreSpace(terms, InStack(terms)) {}

CoreSpace::CoreSpace(absl::Span<const MergeTerm> terms,
                     const std::vector<bool>& in_stack)
    : output_(Stack(terms, in_stack, &MergeTerm::b, 1)),
      input_(Stack(terms, in_stack, &MergeTerm::a, 0).t()) {
  int64_t offset = 0;
  for (size_t t = 0; t < terms.size(); ++t) {
    const int64_t rank = terms[t].a.size(0);
    weights_.push_back(terms[t].weight);
    if (!in_stack[t]) {
      left_.push_back(at::zeros({num_outputs(), rank}, at::kDouble));
      right_.push_back(at::zeros({rank, num_inputs()}, at::kDouble));
      continue;
    }
    left_.push_back(output_.coordinates.narrow(1, offset, rank) *
                    terms[t].scale);
    right_.push_back(input_.coordinates.narrow(1, offset, rank).t());
    offset += rank;
  }
}

at::Tensor CoreSpace::Outputs(const at::Tensor& x) const {
  return output_.qr.Times(output_.rotation.matmul(x.to(at::kDouble)));
}

at::Tensor CoreSpace::Inputs(const at::Tensor& x) const {
  return input_.qr.Times(input_.rotation.matmul(x.t().to(at::kDouble))).t();
}

at::Tensor CoreSpace::Sum() const {
  std::vector<at::Tensor> weighted;
  for (int64_t t = 0; t < num_terms(); ++t) {
    weighted.push_back(left_[t] * weights_[t]);
  }
  return at::cat(weighted, 1).matmul(at::cat(right_, 0));
}

LowRank CoreSpace::Lift(const at::Tensor& core, int64_t rank) const {
  const int64_t m = core.size(0);
  const int64_t n = core.size(1);
  if (rank < std::min(m, n)) {
    return TruncatedProduct(output_.qr,
                            output_.rotation.matmul(core.to(at::kDouble))
                                .matmul(input_.rotation.t()),
                            input_.qr, rank);
  }
  if (m < n) {
    return {Inputs(core), Outputs(at::eye(m, at::kDouble))};
  }
  return {Inputs(at::eye(n, at::kDouble)), Outputs(core)};
}

LowRank MergeInCoreSpace(absl::Span<const MergeTerm> terms,
                         const EntryRule& rule, int64_t rank) {
  const CoreSpace space(terms);
  std::vector<at::Tensor> cores;
  for (int64_t t = 0; t < space.num_terms(); ++t) {
    cores.push_back(space.Core(t).to(at::kFloat));
  }
  return space.Lift(rule(cores, space.weights()), rank);
}

}  // namespace stockpot
