// The few decompositions that the spectral methods are made of.
//
// Tall factors are decomposed in float32, in which they are stored; what is
// left of them, at most (sum of ranks) squared, in float64. There eigenvectors
// of a Gram matrix are as good as singular vectors, in half the time: what
// squaring loses lies below 1e-8 of the largest singular value, and float32
// factors end at 1e-7. Nothing here is of size out x in.

#ifndef STOCKPOT_MERGE_METHODS_DECOMPOSITIONS_H_
#define STOCKPOT_MERGE_METHODS_DECOMPOSITIONS_H_

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "merge/methods/low_rank.h"

namespace stockpot {

// Of a singular value, relative to what it is compared with: what is smaller is
// taken for rounding of the float32 factors. Generous, because rounding grows
// with the number of ranks.
constexpr double kNegligible = 1e-5;

// x = Q r with orthonormal columns of Q, [rows, k], k = min(rows, columns of
// x). Q stays in the form of Householder reflectors: it is only ever multiplied
// with few columns, which costs less than writing it out. Immutable.
class ThinQr {
 public:
  // `x` is [rows, columns] float32 with any strides; a transposed view of a
  // contiguous tensor is fastest. Deficient rank is fine: Q is orthonormal
  // still.
  explicit ThinQr(const at::Tensor& x);

  int64_t size() const { return r_.size(0); }  // k
  const at::Tensor& r() const { return r_; }   // [k, columns] float64
  // Q y. `y` is [k, n] of any float type; the result [rows, n] float32, its
  // columns contiguous.
  at::Tensor Times(const at::Tensor& y) const;

 private:
  at::Tensor reflectors_;  // [rows, k] float32, LAPACK's geqrf
  at::Tensor tau_;         // [k] float32
  at::Tensor r_;
};

// Columns are orthonormal eigenvectors of a positive semidefinite matrix, by
// falling eigenvalue.
struct Eigenvectors {
  at::Tensor values;   // [k] float64, not negative
  at::Tensor vectors;  // [n, k] float64
};
// The `rank` leading ones, at most n. `gram` is [n, n] float64.
// The entry of largest magnitude of each vector is positive.
Eigenvectors LeadingEigenvectors(const at::Tensor& gram, int64_t rank);

// x ~ u diag(s) v^T, by falling singular value. Where a singular value is zero,
// so is the column of u or of v.
struct Triplets {
  at::Tensor u;  // [m, k] float64
  at::Tensor s;  // [k] float64
  at::Tensor v;  // [n, k] float64
};
// The `rank` leading ones, at most min(m, n). `x` is [m, n] float64.
Triplets LeadingTriplets(const at::Tensor& x, int64_t rank);

// Without those whose singular value is at most `floor`.
Triplets Above(const Triplets& triplets, double floor);

// The best approximation of left.Q core right.Q^T of at most `rank` ranks, in
// the form that PEFT's "svd" gives: b = U S and a = V^T. The entry of largest
// magnitude in each row of a is positive, so that the signs follow from the
// product alone. `core` is [left.size(), right.size()] float64.
LowRank TruncatedProduct(const ThinQr& left, const at::Tensor& core,
                         const ThinQr& right, int64_t rank);

// ||b a||_F. Exact to rounding also where ranks cancel.
double FrobeniusNorm(const LowRank& update);

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_METHODS_DECOMPOSITIONS_H_
