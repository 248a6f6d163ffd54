// The rows of embedding and head that an adapter holds itself, on their way
// from its file into memory.
//
// Functions that throw c10::Error say so; all are safe to call from many
// threads.

#ifndef STOCKPOT_MERGE_REPLACED_ROWS_H_
#define STOCKPOT_MERGE_REPLACED_ROWS_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include <ATen/core/Tensor.h>

#include "formats/adapter_layout.h"
#include "formats/safetensors.h"
#include "merge/adapter.h"
#include "merge/adapter_factors.h"
#include "model/base_model.h"

namespace stockpot {

// The memory that the rows hold for a model that runs in `dtype`; rows that
// embedding and head share count once.
int64_t ReplacedBytes(const SafetensorsHeader& header,
                      const AdapterLayout& layout, at::ScalarType dtype);

// Puts `rows`, one tensor per entry of layout.replaced, ready to run, into
// `factors`, and what others must know of them into `adapter`: which they are,
// their bytes, and a scale of 1 in their modules.
void SetReplaced(const AdapterLayout& layout,
                 const std::vector<at::Tensor>& rows, Adapter* adapter,
                 AdapterFactors* factors);

// Compares the copies of the base model's weights that PEFT saves beside an
// embedding's factors with the base model, rounded to the file's dtype. `data`
// is the file's data section. Throws c10::Error.
// Errors: InvalidArgument for a copy that differs: PEFT would load it over the
// base model, which here stays as it is.
absl::Status CheckBaseCopies(const BaseModel& model,
                             const SafetensorsHeader& header,
                             const AdapterLayout& layout,
                             absl::string_view data);

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_REPLACED_ROWS_H_
