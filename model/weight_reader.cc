#include "model/weight_reader.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <ATen/ops/cat.h>
#include <ATen/ops/from_blob.h>

#include "base/status_macros.h"

namespace stockpot {

namespace {

absl::StatusOr<at::ScalarType> TorchType(Dtype dtype, absl::string_view name) {
  switch (dtype) {
    case Dtype::kF32:
      return at::kFloat;
    case Dtype::kF16:
      return at::kHalf;
    case Dtype::kBF16:
      return at::kBFloat16;
    default:
      return absl::InvalidArgumentError(absl::StrCat(
          "tensor \"", name, "\" is stored as ", DtypeName(dtype),
          "; expected F32, F16 or BF16: save the checkpoint unquantised"));
  }
}

}  // namespace

WeightReader::WeightReader(const Checkpoint* checkpoint, std::string prefix,
                           const LoadOptions& options)
    : checkpoint_(checkpoint), options_(options), prefix_(std::move(prefix)) {
  for (const std::string& name : checkpoint_->Names()) {
    if (absl::StartsWith(name, prefix_)) {
      return;
    }
  }
  prefix_.clear();
}

std::string WeightReader::FullName(absl::string_view name) const {
  return name == "lm_head.weight" ? std::string(name)
                                  : absl::StrCat(prefix_, name);
}

bool WeightReader::Has(absl::string_view name) const {
  return checkpoint_->Contains(FullName(name));
}

absl::StatusOr<at::Tensor> WeightReader::Mapped(absl::string_view name,
                                                at::IntArrayRef shape) const {
  if (!Has(name)) {
    // Not NotFound: the directory is there, and what it holds does not fit.
    return absl::InvalidArgumentError(
        absl::StrCat("tensor \"", FullName(name),
                     "\" is missing from the checkpoint; config.json asks for "
                     "it with shape [",
                     absl::StrJoin(shape, ", "), "]"));
  }
  ASSIGN_OR_RETURN(const TensorView view, checkpoint_->Find(FullName(name)));
  if (view.shape != shape.vec()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "tensor \"", FullName(name), "\" has shape [",
        absl::StrJoin(view.shape, ", "), "]; config.json asks for [",
        absl::StrJoin(shape, ", "), "]"));
  }
  ASSIGN_OR_RETURN(const at::ScalarType dtype,
                   TorchType(view.dtype, FullName(name)));
  // The mapping is read-only; nothing writes to a weight.
  return at::from_blob(const_cast<char*>(view.bytes.data()), shape,
                       at::TensorOptions().dtype(dtype));
}

absl::StatusOr<at::Tensor> WeightReader::Read(absl::string_view name,
                                              at::IntArrayRef shape) {
  ASSIGN_OR_RETURN(const at::Tensor mapped, Mapped(name, shape));
  // A copy even where the dtype agrees: the file's pages are given back.
  return mapped.to(options_.device, options_.dtype, /*non_blocking=*/false,
                   /*copy=*/true);
}

absl::StatusOr<at::Tensor> WeightReader::ReadStacked(
    const std::vector<std::string>& names,
    const std::vector<std::vector<int64_t>>& shapes) {
  std::vector<at::Tensor> parts;
  for (size_t i = 0; i < names.size(); ++i) {
    ASSIGN_OR_RETURN(at::Tensor part, Read(names[i], shapes[i]));
    parts.push_back(std::move(part));
  }
  return at::cat(parts, 0);
}

}  // namespace stockpot
