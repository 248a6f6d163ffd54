// MagnitudeRanks finds the k-th smallest magnitude of values that are shown
// piece by piece, exactly, in two passes and half a MiB.
//
// A radix select over the bits of a float32 without its sign, which order as
// the magnitudes do: the first pass counts the upper half of the bits, the
// second the lower half of the values that share the upper half sought. Not
// thread-safe.

#ifndef STOCKPOT_MERGE_METHODS_MAGNITUDE_RANKS_H_
#define STOCKPOT_MERGE_METHODS_MAGNITUDE_RANKS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace stockpot {

class MagnitudeRanks {
 public:
  // `positions` in ascending order of magnitude, from 0.
  explicit MagnitudeRanks(std::vector<int64_t> positions);

  // The first pass: all values once, in pieces of any size, none of them NaN.
  void CountUpper(absl::Span<const float> values);
  // Between the passes. REQUIRES: more values were shown than any position.
  void EndUpper();
  // The second pass: the same values.
  void CountLower(absl::Span<const float> values);

  // The magnitude at each position.
  std::vector<float> Magnitudes() const;

 private:
  // One position, once the upper bits of its value are known.
  struct Sought {
    int64_t position = 0;  // Among the values with these upper bits.
    uint32_t upper = 0;
    std::vector<int64_t> lower;  // [2^16] counts
  };

  std::vector<int64_t> positions_;
  std::vector<int64_t> upper_;  // [2^15] counts
  std::vector<Sought> sought_;
};

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_METHODS_MAGNITUDE_RANKS_H_
