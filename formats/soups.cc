#include "formats/soups.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

#include "base/status_macros.h"
#include "formats/adapter_kind.h"
#include "formats/finite_scanner.h"
#include "formats/quoted.h"
#include "formats/safetensors.h"

namespace stockpot {
namespace {

// The one element of a tensor of a float dtype.
double ScalarOf(Dtype dtype, absl::string_view bytes) {
  uint32_t bits = 0;
  std::memcpy(&bits, bytes.data(), bytes.size());
  if (dtype == Dtype::kF16) {
    const int exponent = static_cast<int>(bits >> 10 & 0x1F);
    const auto fraction = static_cast<double>(bits & 0x3FF);
    const double magnitude = exponent == 0
                                 ? std::ldexp(fraction, -24)
                                 : std::ldexp(1024 + fraction, exponent - 25);
    return (bits & 0x8000) != 0 ? -magnitude : magnitude;
  }
  if (dtype == Dtype::kBF16) {
    bits <<= 16;
  }
  float value = 0;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

absl::StatusOr<double> ReadLogit(const TensorInfo& tensor,
                                 absl::string_view data) {
  const bool is_float = tensor.dtype == Dtype::kF32 ||
                        tensor.dtype == Dtype::kF16 ||
                        tensor.dtype == Dtype::kBF16;
  if (!is_float || tensor.num_elements() != 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "adapter tensor ", Quoted(tensor.name),
        ": expected one F32, F16 or BF16 number, got ", DtypeName(tensor.dtype),
        " of shape ", ShapeString(tensor.shape)));
  }
  const absl::string_view bytes =
      data.substr(tensor.begin, tensor.end - tensor.begin);
  RETURN_IF_ERROR(CheckFinite(tensor.dtype, bytes, tensor.name));
  return ScalarOf(tensor.dtype, bytes);
}

// Both sorted. Errors: InvalidArgument naming the first module that only one
// has.
absl::Status CheckSameModules(const std::vector<SoupsLogit>& first,
                              const std::vector<SoupsLogit>& other,
                              size_t place) {
  for (size_t i = 0; i < first.size() || i < other.size(); ++i) {
    const bool ends = i >= first.size() || i >= other.size();
    if (!ends && first[i].module_path == other[i].module_path) {
      continue;
    }
    const bool first_has =
        i >= other.size() ||
        (i < first.size() && first[i].module_path < other[i].module_path);
    return absl::InvalidArgumentError(absl::StrCat(
        "adapter ", first_has ? place : 0,
        " has no lora_learnable_weights for module ",
        Quoted(first_has ? first[i].module_path : other[i].module_path),
        ", adapter ", first_has ? 0 : place,
        " has; LoRA-Soups' shares need every adapter to adapt the same "
        "modules"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<SoupsLogit>> ReadSoupsLogits(
    absl::string_view file) {
  ASSIGN_OR_RETURN(const SafetensorsHeader header,
                   ParseSafetensorsHeader(file, file.size(), AdapterLimits()));
  std::vector<SoupsLogit> logits;
  for (const TensorInfo& tensor : header.tensors) {
    absl::string_view name = tensor.name;
    absl::ConsumePrefix(&name, "base_model.model.");
    const std::optional<PartOfModule> part = ParsePartOfModule(name);
    if (!part.has_value() || part->part != AdapterPart::kSoupsLogit) {
      continue;
    }
    ASSIGN_OR_RETURN(const double value,
                     ReadLogit(tensor, file.substr(header.data_offset)));
    logits.push_back({std::string(part->module_path), value});
  }
  if (logits.empty()) {
    return absl::InvalidArgumentError(
        "the file holds no lora_learnable_weights; expected an adapter of a "
        "LoRA-Soups CAT checkpoint");
  }
  std::sort(logits.begin(), logits.end(),
            [](const SoupsLogit& a, const SoupsLogit& b) {
              return a.module_path < b.module_path;
            });
  for (size_t i = 1; i < logits.size(); ++i) {
    if (logits[i].module_path == logits[i - 1].module_path) {
      return absl::InvalidArgumentError(absl::StrCat(
          "module ", Quoted(logits[i].module_path),
          " has two lora_learnable_weights; the file must hold one adapter"));
    }
  }
  return logits;
}

absl::StatusOr<std::vector<SoupsShares>> MixSoups(
    absl::Span<const std::vector<SoupsLogit>> adapters) {
  if (adapters.size() < 2) {
    return absl::InvalidArgumentError(
        "LoRA-Soups mixes two or more adapters; give all of its checkpoint");
  }
  for (size_t i = 1; i < adapters.size(); ++i) {
    RETURN_IF_ERROR(CheckSameModules(adapters[0], adapters[i], i));
  }
  std::vector<SoupsShares> modules;
  for (size_t m = 0; m < adapters[0].size(); ++m) {
    SoupsShares shares{adapters[0][m].module_path, {}};
    double largest = adapters[0][m].value;
    for (const std::vector<SoupsLogit>& adapter : adapters) {
      largest = std::max(largest, adapter[m].value);
    }
    double sum = 0;
    for (const std::vector<SoupsLogit>& adapter : adapters) {
      shares.weights.push_back(std::exp(adapter[m].value - largest));
      sum += shares.weights.back();
    }
    for (double& weight : shares.weights) {
      weight /= sum;
    }
    modules.push_back(std::move(shares));
  }
  return modules;
}

}  // namespace stockpot
