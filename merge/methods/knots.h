// KnOTS: skills merged entry by entry after a joint rotation of their outputs.

#ifndef STOCKPOT_MERGE_METHODS_KNOTS_H_
#define STOCKPOT_MERGE_METHODS_KNOTS_H_

#include <cstdint>

#include "absl/types/span.h"

#include "merge/methods/entry_rule.h"
#include "merge/methods/low_rank.h"
#include "merge/methods/svd.h"

namespace stockpot {

// U rule(S V_1, ..., S V_T), where U S [V_1 | ... | V_T] is the singular value
// decomposition of [dW_1 | ... | dW_T], dW_t = scale_t b_t a_t.
//
// The authors' variant: the rule sees S V_t (s_on_V in their code). A second
// one, in the code of Core Space, lets it see V_t and multiplies by U S after;
// the two agree for linear rules only. S V_t it is, because magnitudes then
// mean what they mean in the update: a rule that keeps the largest entries
// would otherwise keep entries of directions that hardly matter.
//
// All min(out, sum of ranks) directions are kept; the authors drop those with a
// singular value up to 1e-5, which for full ranks are the ones that are zero.
// Then truncated to `rank`. Costs sum of ranks x in per skill for the rule.
// Source: arXiv:2410.19735.
LowRank MergeKnots(absl::Span<const MergeTerm> terms, const EntryRule& rule,
                   int64_t rank = kAllRanks);

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_METHODS_KNOTS_H_
