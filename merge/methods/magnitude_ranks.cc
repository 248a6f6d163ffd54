#include "merge/methods/magnitude_ranks.h"

#include <bit>
#include <cstddef>
#include <utility>

namespace stockpot {

namespace {

constexpr int kLowerBits = 16;
constexpr uint32_t kLowerMask = (uint32_t{1} << kLowerBits) - 1;
constexpr uint32_t kNoSign = 0x7FFFFFFF;

uint32_t MagnitudeBits(float value) {
  return std::bit_cast<uint32_t>(value) & kNoSign;
}

// Index of the count in which `*position` falls; `*position` becomes the place
// within it.
uint32_t Find(const std::vector<int64_t>& counts, int64_t* position) {
  size_t i = 0;
  while (i + 1 < counts.size() && *position >= counts[i]) {
    *position -= counts[i++];
  }
  return static_cast<uint32_t>(i);
}

}  // namespace

MagnitudeRanks::MagnitudeRanks(std::vector<int64_t> positions)
    : positions_(std::move(positions)), upper_((kNoSign >> kLowerBits) + 1) {}

void MagnitudeRanks::CountUpper(absl::Span<const float> values) {
  int64_t* const counts = upper_.data();
  for (const float value : values) {
    ++counts[MagnitudeBits(value) >> kLowerBits];
  }
}

void MagnitudeRanks::EndUpper() {
  for (int64_t position : positions_) {
    Sought sought;
    sought.upper = Find(upper_, &position);
    sought.position = position;
    sought.lower.resize(kLowerMask + 1);
    sought_.push_back(std::move(sought));
  }
}

void MagnitudeRanks::CountLower(absl::Span<const float> values) {
  for (Sought& sought : sought_) {
    int64_t* const counts = sought.lower.data();
    for (const float value : values) {
      const uint32_t bits = MagnitudeBits(value);
      if (bits >> kLowerBits == sought.upper) {
        ++counts[bits & kLowerMask];
      }
    }
  }
}

std::vector<float> MagnitudeRanks::Magnitudes() const {
  std::vector<float> magnitudes;
  for (const Sought& sought : sought_) {
    int64_t position = sought.position;
    const uint32_t lower = Find(sought.lower, &position);
    magnitudes.push_back(
        std::bit_cast<float>((sought.upper << kLowerBits) | lower));
  }
  return magnitudes;
}

}  // namespace stockpot
