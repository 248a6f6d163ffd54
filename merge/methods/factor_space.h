// Methods that mix A and B apart, as PEFT and LoraHub do. The product of two
// sums has cross terms b_i a_j; see docs/composition.md.
//
// REQUIRES, of all: terms of one shape and one rank.

#ifndef STOCKPOT_MERGE_METHODS_FACTOR_SPACE_H_
#define STOCKPOT_MERGE_METHODS_FACTOR_SPACE_H_

#include <cstdint>

#include "absl/types/span.h"

#include "merge/merge_options.h"
#include "merge/methods/low_rank.h"

namespace stockpot {

// PEFT's "linear": b = sum_i |w_i s_i|^1/2 b_i, a = sum_i sign(w_i s_i)
// |w_i s_i|^1/2 a_i.
LowRank MergeLinear(absl::Span<const MergeTerm> terms);

// LoraHub's: b = s sum_i w_i b_i, a = sum_i w_i a_i, with the one scaling s
// that all terms have.
LowRank MergeLoraHub(absl::Span<const MergeTerm> terms);

// PEFT's "magnitude_prune", "ties", "dare_linear", "dare_ties", and the other
// entry-wise rules alike: MergeEntries() on the a_i and on the b_i, each with
// linear's weights for it.
LowRank MergeFactors(absl::Span<const MergeTerm> terms,
                     const MergeOptions& options, uint64_t stream);

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_METHODS_FACTOR_SPACE_H_
