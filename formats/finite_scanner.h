// Finds NaN and infinity in weights, in one buffer or in a stream of chunks.

#ifndef STOCKPOT_FORMATS_FINITE_SCANNER_H_
#define STOCKPOT_FORMATS_FINITE_SCANNER_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "formats/safetensors.h"

namespace stockpot {

// Checks that every element of `bytes`, little-endian F64, F32, F16 or BF16 and
// not necessarily aligned, is finite. Other dtypes pass.
// REQUIRES: bytes.size() is a multiple of DtypeBytes(dtype).
// Errors: InvalidArgument, which names the tensor and the element.
absl::Status CheckFinite(Dtype dtype, absl::string_view bytes,
                         absl::string_view tensor_name);

// A FiniteScanner does the same for a data section that arrives in chunks of
// any size, also of one byte. One thread uses it.
class FiniteScanner {
 public:
  // `header` is borrowed.
  explicit FiniteScanner(const SafetensorsHeader& header);

  // Takes the next bytes of the data section.
  // Errors: InvalidArgument for the first element that is not finite (tensor
  // and element index are named) and for bytes beyond the last tensor. After an
  // error the scanner is of no further use.
  absl::Status Feed(absl::string_view chunk);

  // OK once every byte of the data section was fed; InvalidArgument with the
  // number of missing bytes otherwise.
  absl::Status Finish() const;

 private:
  absl::Status FeedTensor(const TensorInfo& tensor, absl::string_view part);

  const SafetensorsHeader& header_;
  size_t tensor_ = 0;
  // Bytes fed so far.
  uint64_t position_ = 0;
  // The first bytes of an element that a chunk's border cut.
  char partial_[8] = {};
  size_t num_partial_ = 0;
};

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_FINITE_SCANNER_H_
