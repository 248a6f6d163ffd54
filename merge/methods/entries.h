// The entry-wise rules on tensors at hand: trimming, masks, elections of signs.

#ifndef STOCKPOT_MERGE_METHODS_ENTRIES_H_
#define STOCKPOT_MERGE_METHODS_ENTRIES_H_

#include <cstdint>

#include "absl/types/span.h"
#include <ATen/core/Tensor.h>

#include "merge/merge_options.h"
#include "merge/methods/entry_rule.h"

namespace stockpot {

// Merges tensors of one shape by `options.method`: kMagnitudePrune, kTies,
// kDare, kDella or kBreadcrumbs, in `options.dialect`. terms[i] is float32 on
// the CPU and not yet multiplied by weights[i]. `stream` tells the masks of
// this merge from those of others with the same seed. Rows, for della, are the
// first dimension. options.space, rank and lambda are the caller's matter.
//
// Entries as large as the threshold of trimming all stay; PEFT and mergekit
// keep as many of them as fill the share, which ones is theirs to say.
at::Tensor MergeEntries(absl::Span<const at::Tensor> terms,
                        absl::Span<const double> weights,
                        const MergeOptions& options, uint64_t stream);

// MergeEntries() with `options` and `stream` bound.
EntryRule EntryRuleOf(const MergeOptions& options, uint64_t stream);

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_METHODS_ENTRIES_H_
