// An AdapterValidator checks an adapter while its bytes arrive, before anything
// of it becomes visible: the header against the strict safetensors rules and
// the base model's modules, then every value for being finite.
//
// Holds the header (at most 1 MiB) and nothing of the data, unless the adapter
// will be converted with a loss, which is measured, or holds copies of the base
// model's weights, which are compared. Not thread-safe.

#ifndef STOCKPOT_MERGE_ADAPTER_VALIDATOR_H_
#define STOCKPOT_MERGE_ADAPTER_VALIDATOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "base/digest.h"
#include "formats/adapter_config.h"
#include "formats/adapter_layout.h"
#include "formats/finite_scanner.h"
#include "formats/safetensors.h"
#include "registry/adapter_store.h"

namespace stockpot {

// Converts the modules of an adapter whose conversion leaves something out, as
// loading will, and returns AdapterFacts::kept_energy. `data` is the file's
// data section. Errors: those of loading; InvalidArgument for a copy of a base
// weight (AdapterLayout::base_copies) that is none.
using ConversionMeasure = std::function<absl::StatusOr<double>(
    const AdapterConfig& config, const SafetensorsHeader& header,
    const AdapterLayout& layout, absl::string_view data)>;

class AdapterValidator {
 public:
  // Of a file that is kept to measure its conversion.
  static constexpr uint64_t kMaxMeasuredBytes = uint64_t{256} << 20;

  // `modules` must outlive the validator. `file_bytes` is the declared size.
  // Without `measure`, AdapterFacts::kept_energy stays 1 and copies of base
  // weights are not compared.
  // Errors: InvalidArgument or Unimplemented as AdapterConfig::Parse().
  static absl::StatusOr<std::unique_ptr<AdapterValidator>> Create(
      absl::string_view adapter_config, uint64_t file_bytes,
      absl::Span<const BaseModule> modules,
      ConversionMeasure measure = nullptr);

  // Takes the next bytes of the file. Errors: InvalidArgument or Unimplemented;
  // the first wrong thing is named. After an error, no further call.
  absl::Status Feed(absl::string_view bytes);

  // What was found. Measures a conversion: up to a minute.
  // Errors: InvalidArgument if bytes are missing, or rows that are saved twice
  // differ; those of the measure.
  absl::StatusOr<AdapterFacts> Finish(const Digest& base_model) const;

  // What it keeps of the file.
  uint64_t held_bytes() const { return head_.capacity() + data_.capacity(); }

 private:
  AdapterValidator(AdapterConfig config, uint64_t file_bytes,
                   absl::Span<const BaseModule> modules,
                   ConversionMeasure measure)
      : config_(std::move(config)),
        file_bytes_(file_bytes),
        modules_(modules),
        measure_(std::move(measure)) {}

  absl::Status DecideToKeepData();
  absl::Status CheckRowsCopies() const;
  absl::Status FeedHeader(absl::string_view* bytes);

  const AdapterConfig config_;
  const uint64_t file_bytes_;
  const absl::Span<const BaseModule> modules_;
  const ConversionMeasure measure_;
  std::string head_;           // First bytes, until the header is whole.
  uint64_t header_bytes_ = 8;  // Bytes that head_ needs next.
  bool knows_header_bytes_ = false;
  std::optional<SafetensorsHeader> header_;
  std::optional<AdapterLayout> layout_;
  std::optional<FiniteScanner> scanner_;
  bool keeps_data_ = false;
  std::string data_;  // The data section, if it is to be measured or compared.
};

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_ADAPTER_VALIDATOR_H_
