// Iso-C: the weighted sum with a flat spectrum.

#ifndef STOCKPOT_MERGE_METHODS_ISO_H_
#define STOCKPOT_MERGE_METHODS_ISO_H_

#include <cstdint>

#include "absl/types/span.h"

#include "merge/methods/low_rank.h"
#include "merge/methods/svd.h"

namespace stockpot {

// mean(S) U V^T, where U S V^T is the singular value decomposition of
// sum_t weight_t scale_t b_t a_t cut to its `rank` leading triplets.
//
// The mean is over those triplets: at most min(out, in, sum of ranks), and
// without the ones that are negligible beside the skills themselves
// (kNegligible). The authors' formula averages over all min(out, in) singular
// values of dense updates; of low-rank updates nearly all of those are zero and
// their vectors arbitrary, so that the formula has a meaning in core space
// only. Cut before, not after: a flat spectrum has no leading part. Source:
// arXiv:2502.04959.
LowRank MergeIso(absl::Span<const MergeTerm> terms, int64_t rank = kAllRanks);

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_METHODS_ISO_H_
