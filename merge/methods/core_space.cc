#include "merge/methods/core_space.h"

#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include "merge/methods/decompositions.h"

namespace stockpot {
namespace {

struct StackBasis {
  at::Tensor vectors;      // [rows, k] float32: left singular vectors
  at::Tensor coordinates;  // [k, columns] float64: vectors^T stack
};

StackBasis BasisOf(const at::Tensor& stack) {  // [rows, columns]
  const ThinQr qr = QrOf(stack);
  const at::Tensor u =
      LeadingEigenvectors(qr.r.matmul(qr.r.t()), kAllRanks).vectors;
  const at::Tensor coordinates = u.t().matmul(qr.r);
  // Signs that follow from the stack alone, and not from how its QR came out:
  // each vector's largest coordinate is positive.
  const at::Tensor largest = coordinates.gather(
      1, coordinates.abs().argmax(1, /*keepdim=*/true));  // [k, 1]
  const at::Tensor signs = at::where(largest < 0, -1.0, 1.0).to(at::kDouble);
  return {qr.q.matmul((u * signs.t()).to(at::kFloat)), coordinates * signs};
}

bool IsZero(const MergeTerm& term) {
  return !term.b.any().item<bool>() || !term.a.any().item<bool>();
}

}  // namespace

CoreSpace::CoreSpace(absl::Span<const MergeTerm> terms) {
  std::vector<bool> in_stack;
  for (const MergeTerm& term : terms) {
    in_stack.push_back(!IsZero(term));
    weights_.push_back(term.weight);
  }
  if (std::none_of(in_stack.begin(), in_stack.end(),
                   [](bool is_in) { return is_in; })) {
    in_stack.assign(terms.size(), true);  // Any basis will do.
  }
  std::vector<at::Tensor> a;
  std::vector<at::Tensor> b;
  for (size_t t = 0; t < terms.size(); ++t) {
    if (in_stack[t]) {
      a.push_back(terms[t].a);
      b.push_back(terms[t].b);
    }
  }
  const StackBasis output = BasisOf(at::cat(b, 1));
  const StackBasis input = BasisOf(at::cat(a, 0).t());
  u_ = output.vectors;
  v_ = input.vectors.t();
  int64_t offset = 0;
  for (size_t t = 0; t < terms.size(); ++t) {
    const int64_t rank = terms[t].a.size(0);
    if (!in_stack[t]) {
      left_.push_back(at::zeros({u_.size(1), rank}, at::kDouble));
      right_.push_back(at::zeros({rank, v_.size(0)}, at::kDouble));
      continue;
    }
    left_.push_back(output.coordinates.narrow(1, offset, rank) *
                    terms[t].scale);
    right_.push_back(input.coordinates.narrow(1, offset, rank).t());
    offset += rank;
  }
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
    return TruncatedProduct(u_, core.to(at::kDouble), v_, rank);
  }
  const at::Tensor core32 = core.to(at::kFloat);
  if (m < n) {
    return {core32.matmul(v_), u_};
  }
  return {v_, u_.matmul(core32)};
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
