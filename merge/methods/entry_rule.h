// How tensors of one shape become one, entry by entry: ties, dare, ...

#ifndef STOCKPOT_MERGE_METHODS_ENTRY_RULE_H_
#define STOCKPOT_MERGE_METHODS_ENTRY_RULE_H_

#include <functional>

#include "absl/types/span.h"
#include <ATen/core/Tensor.h>

namespace stockpot {

// terms[i], float32, is not yet multiplied by weights[i]. Returns float32 of
// the same shape, finite when the terms are.
using EntryRule = std::function<at::Tensor(absl::Span<const at::Tensor> terms,
                                           absl::Span<const double> weights)>;

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_METHODS_ENTRY_RULE_H_
