// The rows of embedding and head that a composition replaces, in the form in
// which PEFT reads them again.

#ifndef STOCKPOT_MERGE_EXPORTED_ROWS_H_
#define STOCKPOT_MERGE_EXPORTED_ROWS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include <ATen/core/Tensor.h>

#include "formats/adapter_layout.h"
#include "merge/composition.h"
#include "model/token_rows.h"

namespace stockpot {

// Of one module. Each token has one owner.
struct ExportedRows {
  size_t module = 0;
  // Ascending; empty: all of them, the whole weight.
  std::vector<int64_t> tokens;
  // Where the row of each token is; of a whole weight, {owner, 0} alone.
  std::vector<std::pair<std::shared_ptr<const TokenRows>, int64_t>> sources;

  bool is_whole() const { return tokens.empty(); }
  // [tokens, hidden] or [vocabulary, hidden], contiguous float32 on the CPU.
  // Throws c10::Error.
  at::Tensor Make() const;
};

// By module. A head that shares the embedding's trained rows is left out: PEFT
// gives it them. `has_factors` says which of the modules `base` the composition
// also adapts.
//
// Errors: FailedPrecondition, which names the module, for what PEFT defines no
// adapter for: trained rows and factors on one module, and on a tied head other
// than the embedding's trained rows, unless they are of other tokens.
absl::StatusOr<std::vector<ExportedRows>> RowsToExport(
    const Composition& composition, absl::Span<const BaseModule> base,
    const std::vector<bool>& has_factors);

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_EXPORTED_ROWS_H_
