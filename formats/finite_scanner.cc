#include "formats/finite_scanner.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/status_macros.h"
#include "formats/quoted.h"

namespace stockpot {
namespace {

// Large enough to vectorise, small enough to stay in the first-level cache for
// the second look.
constexpr size_t kBlockElements = 2048;

// Returns the index of the first element whose exponent bits, `kExponent`, are
// all ones: an infinity or a NaN.
template <typename Bits, Bits kExponent>
std::optional<size_t> FirstNotFinite(absl::string_view bytes) {
  constexpr Bits kLowest = kExponent & (~kExponent + 1);
  constexpr Bits kSign = static_cast<Bits>(kExponent + kLowest);
  const size_t num_elements = bytes.size() / sizeof(Bits);
  Bits block[kBlockElements];
  for (size_t start = 0; start < num_elements; start += kBlockElements) {
    const size_t count = std::min(kBlockElements, num_elements - start);
    std::memcpy(block, bytes.data() + start * sizeof(Bits),
                count * sizeof(Bits));
    std::fill(block + count, block + kBlockElements, Bits{0});
    // No early exit and always the same length, so that the compiler uses
    // vectors. The carry out of the exponent says that it was all ones.
    Bits carries = 0;
    for (size_t i = 0; i < kBlockElements; ++i) {
      carries |= static_cast<Bits>((block[i] & kExponent) + kLowest);
    }
    if ((carries & kSign) != 0) {
      const Bits* first = std::find_if(block, block + count, [](Bits bits) {
        return (bits & kExponent) == kExponent;
      });
      return start + static_cast<size_t>(first - block);
    }
  }
  return std::nullopt;
}

std::optional<size_t> FirstNotFinite(Dtype dtype, absl::string_view bytes) {
  switch (dtype) {
    case Dtype::kF64:
      return FirstNotFinite<uint64_t, 0x7FF0000000000000>(bytes);
    case Dtype::kF32:
      return FirstNotFinite<uint32_t, 0x7F800000>(bytes);
    case Dtype::kF16:
      return FirstNotFinite<uint16_t, 0x7C00>(bytes);
    case Dtype::kBF16:
      return FirstNotFinite<uint16_t, 0x7F80>(bytes);
    default:
      return std::nullopt;
  }
}

// As CheckFinite for elements that follow `num_before` others.
absl::Status CheckFiniteFrom(Dtype dtype, absl::string_view bytes,
                             absl::string_view tensor_name,
                             uint64_t num_before) {
  const std::optional<size_t> index = FirstNotFinite(dtype, bytes);
  if (!index.has_value()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "tensor ", Quoted(tensor_name), ": element ", num_before + *index,
      " is not finite (NaN or infinity); the training run has diverged"));
}

}  // namespace

absl::Status CheckFinite(Dtype dtype, absl::string_view bytes,
                         absl::string_view tensor_name) {
  return CheckFiniteFrom(dtype, bytes, tensor_name, 0);
}

FiniteScanner::FiniteScanner(const SafetensorsHeader& header)
    : header_(header) {}

absl::Status FiniteScanner::Feed(absl::string_view chunk) {
  while (!chunk.empty()) {
    while (tensor_ < header_.tensors.size() &&
           header_.tensors[tensor_].end <= position_) {
      ++tensor_;
    }
    if (tensor_ == header_.tensors.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat(chunk.size(),
                       " bytes follow the last tensor, whose "
                       "data ends at ",
                       position_));
    }
    const TensorInfo& tensor = header_.tensors[tensor_];
    const size_t num_bytes = static_cast<size_t>(
        std::min<uint64_t>(chunk.size(), tensor.end - position_));
    RETURN_IF_ERROR(FeedTensor(tensor, chunk.substr(0, num_bytes)));
    chunk.remove_prefix(num_bytes);
  }
  return absl::OkStatus();
}

absl::Status FiniteScanner::FeedTensor(const TensorInfo& tensor,
                                       absl::string_view part) {
  const size_t element_bytes = static_cast<size_t>(DtypeBytes(tensor.dtype));
  uint64_t num_before = (position_ - tensor.begin) / element_bytes;
  position_ += part.size();
  if (num_partial_ > 0) {
    const size_t num_taken =
        std::min(element_bytes - num_partial_, part.size());
    std::memcpy(partial_ + num_partial_, part.data(), num_taken);
    num_partial_ += num_taken;
    part.remove_prefix(num_taken);
    if (num_partial_ < element_bytes) {
      return absl::OkStatus();
    }
    num_partial_ = 0;
    RETURN_IF_ERROR(CheckFiniteFrom(tensor.dtype, {partial_, element_bytes},
                                    tensor.name, num_before));
    ++num_before;
  }
  const size_t num_left = part.size() % element_bytes;
  RETURN_IF_ERROR(CheckFiniteFrom(tensor.dtype,
                                  part.substr(0, part.size() - num_left),
                                  tensor.name, num_before));
  std::memcpy(partial_, part.data() + part.size() - num_left, num_left);
  num_partial_ = num_left;
  return absl::OkStatus();
}

absl::Status FiniteScanner::Finish() const {
  const uint64_t total =
      header_.tensors.empty() ? 0 : header_.tensors.back().end;
  if (position_ != total) {
    return absl::InvalidArgumentError(absl::StrCat("the data section has ",
                                                   total, " bytes, only ",
                                                   position_, " arrived"));
  }
  return absl::OkStatus();
}

}  // namespace stockpot
