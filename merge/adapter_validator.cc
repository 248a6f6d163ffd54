#include "merge/adapter_validator.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/status_macros.h"
#include "formats/adapter_kind.h"
#include "formats/quoted.h"

namespace stockpot {

absl::StatusOr<std::unique_ptr<AdapterValidator>> AdapterValidator::Create(
    absl::string_view adapter_config, uint64_t file_bytes,
    absl::Span<const BaseModule> modules, ConversionMeasure measure) {
  ASSIGN_OR_RETURN(AdapterConfig config, AdapterConfig::Parse(adapter_config));
  return std::unique_ptr<AdapterValidator>(new AdapterValidator(
      std::move(config), file_bytes, modules, std::move(measure)));
}

absl::Status AdapterValidator::FeedHeader(absl::string_view* bytes) {
  while (!bytes->empty() && !header_.has_value()) {
    const size_t take = static_cast<size_t>(
        std::min<uint64_t>(bytes->size(), header_bytes_ - head_.size()));
    head_.append(bytes->data(), take);
    bytes->remove_prefix(take);
    if (head_.size() < header_bytes_) {
      return absl::OkStatus();
    }
    if (!knows_header_bytes_) {
      ASSIGN_OR_RETURN(header_bytes_, SafetensorsHeaderBytes(head_, file_bytes_,
                                                             AdapterLimits()));
      knows_header_bytes_ = true;
      continue;
    }
    ASSIGN_OR_RETURN(
        header_, ParseSafetensorsHeader(head_, file_bytes_, AdapterLimits()));
    ASSIGN_OR_RETURN(layout_, MatchAdapter(*header_, config_, modules_));
    scanner_.emplace(*header_);
    RETURN_IF_ERROR(DecideToKeepData());
    head_ = std::string();
  }
  return absl::OkStatus();
}

absl::Status AdapterValidator::DecideToKeepData() {
  const bool is_lossy = std::any_of(
      layout_->modules.begin(), layout_->modules.end(),
      [](const AdaptedModule& adapted) { return !adapted.is_exact; });
  const bool has_copies = !layout_->base_copies.empty();
  const bool has_rows_copies = !layout_->rows_copies.empty();
  keeps_data_ =
      has_rows_copies || (measure_ != nullptr && (is_lossy || has_copies));
  if (keeps_data_ && !is_lossy && file_bytes_ > kMaxMeasuredBytes) {
    const size_t copy = has_copies ? layout_->base_copies[0].tensor
                                   : layout_->rows_copies[0].tensor;
    return absl::UnimplementedError(
        absl::StrCat("adapter tensor ", Quoted(header_->tensors[copy].name),
                     has_copies ? " is a copy of the base model's"
                                : " is a copy of the embedding's rows",
                     ", which is compared with it; the file has ", file_bytes_,
                     " bytes, one with copies may have ", kMaxMeasuredBytes,
                     has_copies ? ". Save it with save_embedding_layers=False"
                                : ". Leave the copy out"));
  }
  if (keeps_data_ && file_bytes_ > kMaxMeasuredBytes) {
    return absl::UnimplementedError(absl::StrCat(
        "the file has ", file_bytes_,
        " bytes; one that is converted with a "
        "loss may have ",
        kMaxMeasuredBytes,
        ". Convert it once with peft.save_as_lora(path, model, rank) and "
        "upload the result"));
  }
  return absl::OkStatus();
}

absl::Status AdapterValidator::CheckRowsCopies() const {
  for (const RowsCopy& copy : layout_->rows_copies) {
    const TensorInfo& info = header_->tensors[copy.tensor];
    const TensorInfo& original = header_->tensors[copy.original];
    const absl::string_view data = data_;
    if (data.substr(info.begin, info.num_bytes()) !=
        data.substr(original.begin, original.num_bytes())) {
      return absl::InvalidArgumentError(absl::StrCat(
          "adapter tensor ", Quoted(info.name),
          ": the head shares its rows "
          "with the embedding, and they differ from ",
          Quoted(original.name),
          "; PEFT would load one over the other. Save the adapter again"));
    }
  }
  return absl::OkStatus();
}

absl::Status AdapterValidator::Feed(absl::string_view bytes) {
  RETURN_IF_ERROR(FeedHeader(&bytes));
  if (bytes.empty()) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(scanner_->Feed(bytes));
  if (keeps_data_) {
    data_.append(bytes.data(), bytes.size());
  }
  return absl::OkStatus();
}

absl::StatusOr<AdapterFacts> AdapterValidator::Finish(
    const Digest& base_model) const {
  if (!scanner_.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the file ends within its safetensors header, after ",
                     head_.size(), " bytes; it is truncated"));
  }
  RETURN_IF_ERROR(scanner_->Finish());
  RETURN_IF_ERROR(CheckRowsCopies());
  double kept_energy = 1;
  if (keeps_data_ && measure_ != nullptr) {
    ASSIGN_OR_RETURN(kept_energy, measure_(config_, *header_, *layout_, data_));
  }
  return AdapterFacts{
      .num_parameters = static_cast<uint64_t>(layout_->num_parameters),
      .peft_type = std::string(PeftTypeName(config_.kind())),
      .min_rank = static_cast<uint32_t>(layout_->min_rank),
      .max_rank = static_cast<uint32_t>(layout_->max_rank),
      .kept_energy = kept_energy,
      .target_modules = layout_->target_suffixes,
      .base_model = config_.base_model_name_or_path(),
      .base_model_digest = base_model};
}

}  // namespace stockpot
