// TSV-M: the skills' singular vectors made orthogonal to each other.

#ifndef STOCKPOT_MERGE_METHODS_TSV_H_
#define STOCKPOT_MERGE_METHODS_TSV_H_

#include <cstdint>

#include "absl/types/span.h"

#include "merge/methods/low_rank.h"
#include "merge/methods/svd.h"

namespace stockpot {

// P([U_1 ... U_T]) diag(weight_t S_t) P([V_1 ... V_T])^T, where U_t S_t V_t^T
// is the singular value decomposition of scale_t b_t a_t and P(X) = U V^T the
// nearest matrix with orthonormal columns of X = U S V^T (polar factor).
//
// In core space, and with every skill's own rank_t triplets: for equal ranks
// the authors' share of 1/T of all. On dense low-rank updates their code would
// fill that share with arbitrary null vectors. For the same reason directions
// that vanish (kNegligible) are left out of P and of the triplets: skills that
// coincide then cancel with opposite weights. Then truncated to `rank`.
// Source: arXiv:2412.00081.
LowRank MergeTsv(absl::Span<const MergeTerm> terms, int64_t rank = kAllRanks);

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_METHODS_TSV_H_
