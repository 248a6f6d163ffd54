// Compress-then-Merge: skills are first cut to shared bases of the final rank,
// and merged entry by entry there.

#ifndef STOCKPOT_MERGE_METHODS_COMPRESS_THEN_MERGE_H_
#define STOCKPOT_MERGE_METHODS_COMPRESS_THEN_MERGE_H_

#include <cstdint>

#include "absl/types/span.h"

#include "merge/methods/entry_rule.h"
#include "merge/methods/low_rank.h"

namespace stockpot {

struct TuckerOptions {
  // How much the skills' own strengths count when the bases are sought, in
  // [0, 1]: 1 takes the skills as they are, 0 makes all equally strong. The
  // authors search it per task; their code's default is 1.
  double beta = 1;
  // Of alternating; each finds the output basis for the input basis, then the
  // other way round.
  int max_iterations = 30;
  // Ends earlier when the share of the skills' energy inside the bases grows by
  // less than this. Skills with nothing in common have flat spectra and
  // converge slowly, to bases that are hardly better.
  double tolerance = 1e-5;
};

// U rule(O_1, ..., O_T) V^T with O_t = U^T dW_t V, dW_t = scale_t b_t a_t.
//
// U [out, rank] and V [in, rank] are the orthonormal bases of the Tucker-2
// decomposition of the stack of X_t = (beta ||M_t|| + (1 - beta) mean ||M||)
// M_t / ||M_t||, M_t being the cores in CoreSpace: started from the truncated
// higher-order SVD, then alternated (HOOI). A basis that would need more
// columns than out, in or the sum of ranks has fewer and loses nothing. The
// mean is over skills that are not zero; a zero skill changes nothing. Weights
// go to the rule, not into the bases.
//
// The result has exactly `rank` ranks, or min(out, in, sum of ranks) if that is
// fewer. REQUIRES: rank >= 1. Source: arXiv:2606.03723.
LowRank CompressThenMerge(absl::Span<const MergeTerm> terms, int64_t rank,
                          const EntryRule& rule,
                          const TuckerOptions& options = {});

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_METHODS_COMPRESS_THEN_MERGE_H_
