// A CoreSpace is the joint low-rank basis of one module's skills, in which
// their updates are small matrices and nothing is lost.
//
//   U = left singular vectors of [b_1 ... b_T]    [out, m], m <= sum of ranks
//   V = right singular vectors of [a_1; ...; a_T]  [n, in],  n <= sum of ranks
//   core_t = U^T (scale_t b_t a_t) V^T             [m, n]
//
// Rules that are linear give in it what they give on dense updates. Rules that
// look at single entries depend on the basis; singular vectors of the stacked
// factors, as they are stored and without scale and weight, are those of the
// authors' code. So equal updates under other factors (b c, a / c) may merge
// otherwise. A skill whose a or b is zero has no part in the bases, which in
// the authors' code it has: an untrained skill must not change what others
// give. Of stacks of deficient rank (duplicates, more ranks than outputs) the
// superfluous vectors are arbitrary but orthonormal, and the cores are zero to
// rounding there.
//
// Source: Core Space, arXiv:2509.17786. Immutable.

#ifndef STOCKPOT_MERGE_METHODS_CORE_SPACE_H_
#define STOCKPOT_MERGE_METHODS_CORE_SPACE_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include <ATen/core/Tensor.h>

#include "merge/methods/decompositions.h"
#include "merge/methods/entry_rule.h"
#include "merge/methods/low_rank.h"
#include "merge/methods/svd.h"

namespace stockpot {

class CoreSpace {
 public:
  // REQUIRES: at least one term; all of one shape [out, in].
  explicit CoreSpace(absl::Span<const MergeTerm> terms);

  int64_t num_terms() const { return static_cast<int64_t>(left_.size()); }
  const std::vector<double>& weights() const { return weights_; }
  int64_t num_outputs() const { return output_.qr.size(); }  // m
  int64_t num_inputs() const { return input_.qr.size(); }    // n
  // U x, [out, k] float32. `x` is [m, k] of any float type.
  at::Tensor Outputs(const at::Tensor& x) const;
  // x V, [k, in] float32. `x` is [k, n] of any float type.
  at::Tensor Inputs(const at::Tensor& x) const;

  // core_t = left(t) right(t).
  const at::Tensor& left(int64_t t) const {  // [m, rank_t] float64
    return left_[t];
  }
  const at::Tensor& right(int64_t t) const {  // [rank_t, n] float64
    return right_[t];
  }
  at::Tensor Core(int64_t t) const {  // [m, n] float64
    return left_[t].matmul(right_[t]);
  }

  // sum_t weight_t core_t: cat. [m, n] float64
  at::Tensor Sum() const;

  // U core V, of at most `rank` ranks: the best approximation if that is fewer
  // than min(m, n). `core` is [m, n] of any float type.
  LowRank Lift(const at::Tensor& core, int64_t rank = kAllRanks) const;

 private:
  // Of a stack of factors: its left singular vectors are qr.Q rotation.
  struct Basis {
    explicit Basis(const at::Tensor& stack);  // [rows, columns]

    ThinQr qr;
    at::Tensor rotation;     // [k, k] float64
    at::Tensor coordinates;  // [k, columns] float64: of the stack in the basis
  };
  CoreSpace(absl::Span<const MergeTerm> terms,
            const std::vector<bool>& in_stack);

  Basis output_;
  Basis input_;
  std::vector<double> weights_;
  std::vector<at::Tensor> left_;
  std::vector<at::Tensor> right_;
};

// The cores merged by `rule`, then truncated to `rank`.
LowRank MergeInCoreSpace(absl::Span<const MergeTerm> terms,
                         const EntryRule& rule, int64_t rank = kAllRanks);

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_METHODS_CORE_SPACE_H_
