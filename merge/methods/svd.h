// cat, and its best approximation of a given rank.
//
// The singular value decomposition of b a comes from two thin QR decompositions
// and one of rank x rank: milliseconds where that of the dense update takes
// seconds, and as exact.

#ifndef STOCKPOT_MERGE_METHODS_SVD_H_
#define STOCKPOT_MERGE_METHODS_SVD_H_

#include <cstdint>
#include <limits>

#include "absl/types/span.h"

#include "merge/methods/low_rank.h"

namespace stockpot {

// Of methods that take the rank of their result: as many as come.
constexpr int64_t kAllRanks = std::numeric_limits<int64_t>::max();

// sum_i weight_i scale_i b_i a_i as one pair of factors, exact: weight and
// scale on a, as PEFT's "cat" has them. Rank is the sum of ranks. REQUIRES: at
// least one term; all of one shape [out, in].
LowRank Concatenate(absl::Span<const MergeTerm> terms);

// The best approximation of `update` in the Frobenius norm with at most `rank`
// ranks: b = U S, a = V^T, signs as TruncatedProduct() fixes them. An update of
// no more ranks than that is returned as it is.
// REQUIRES: rank >= 1.
LowRank TruncateSvd(const LowRank& update, int64_t rank);

// TruncateSvd() of Concatenate(): each weight and scale counts once. PEFT up to
// 0.20 multiplied by the scale twice (pull request 3111); that is not copied.
LowRank MergeSvd(absl::Span<const MergeTerm> terms, int64_t rank);

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_METHODS_SVD_H_
