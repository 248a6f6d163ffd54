// Pico: turns down the output directions that all skills share, before any
// method merges them.

#ifndef STOCKPOT_MERGE_METHODS_PICO_H_
#define STOCKPOT_MERGE_METHODS_PICO_H_

#include <vector>

#include "absl/types/span.h"

#include "merge/methods/low_rank.h"

namespace stockpot {

// The terms with b_t replaced by (I + U diag(alpha - 1) U^T) b_t, where
//   U S V^T = [b_1 ... b_T], sigma_j = S_j^2 / sum S^2,
//   alpha_j = 1 / (1 + (T - 1) sigma_j).
// Scales and weights are left out of the stack, as in the paper. One skill, and
// skills of zeros, are returned unchanged. Source: arXiv:2604.16826.
std::vector<MergeTerm> CalibratedTerms(absl::Span<const MergeTerm> terms);

// `merged` times gamma = mean_t ||weight_t dW_t||_F / ||merged||_F, which gives
// back the strength that calibration took. `terms` are those before it. The
// paper has no weights; with them in the mean, all weights times c still give
// the result times c, and the rest of the paper's formula is unchanged for
// weights of 1. A negligible `merged` (kNegligible: skills that cancel) stays.
LowRank Rescaled(const LowRank& merged, absl::Span<const MergeTerm> terms);

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_METHODS_PICO_H_
