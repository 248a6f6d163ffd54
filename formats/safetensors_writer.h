// Writes the header of a safetensors file; the caller writes the data section
// after it, tensor by tensor.

#ifndef STOCKPOT_FORMATS_SAFETENSORS_WRITER_H_
#define STOCKPOT_FORMATS_SAFETENSORS_WRITER_H_

#include <string>
#include <vector>

#include "absl/types/span.h"

#include "formats/safetensors.h"

namespace stockpot {

// Sets begin and end of each tensor, one after the other in their order, and
// returns the file's first 8 + N bytes, padded so that the data section starts
// at a multiple of 8. REQUIRES: names are unique, shapes are not negative and
// their products small enough for uint64_t.
std::string WriteSafetensorsHeader(absl::Span<TensorInfo> tensors);

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_SAFETENSORS_WRITER_H_
