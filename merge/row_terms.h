// What the skills of a step do to a module's rows beside low-rank updates:
// biases, DoRA's and IA3's scaling, rows of embedding and head of their own.

#ifndef STOCKPOT_MERGE_ROW_TERMS_H_
#define STOCKPOT_MERGE_ROW_TERMS_H_

#include <memory>

#include "absl/types/span.h"
#include <ATen/core/Tensor.h>

#include "merge/composition.h"
#include "model/delta_set.h"

namespace stockpot {

// Sets gain, shift and input_gain of each module that needs them, with mix row
// i + 1 for compositions[i], on `device`. Touches nothing where no skill has
// such terms. Throws c10::Error.
void SetRowTerms(
    absl::Span<const std::shared_ptr<const Composition>> compositions,
    at::Device device, DeltaSet* deltas);

// Sets `replaced` of the embedding and the head, with mix row i + 1 for
// compositions[i]. REQUIRES: it is empty.
void SetReplacedRows(
    absl::Span<const std::shared_ptr<const Composition>> compositions,
    DeltaSet* deltas);

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_ROW_TERMS_H_
