#include "registry/record_codec.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "proto/stockpot/v1/storage.pb.h"

#include "base/digest.h"
#include "base/status_macros.h"
#include "registry/adapter_ref.h"
#include "registry/adapter_store.h"
#include "registry/chunk_source.h"
#include "registry/key_codec.h"

namespace stockpot {
namespace {

constexpr size_t kMaxPeftTypeBytes = 64;
constexpr size_t kMaxBaseModelBytes = 1024;
constexpr size_t kMaxTargetModules = 4096;
constexpr size_t kMaxTargetModuleBytes = 256;

absl::Status DamagedError(absl::string_view what) {
  return absl::DataLossError(absl::StrCat(
      "the registry could not read an adapter: its ", what, " is damaged"));
}

// The letters of SPDX 2.3, annex D: identifiers, operators, parentheses.
absl::Status ValidateLicense(absl::string_view license) {
  RETURN_IF_ERROR(ValidateText("license", license, kMaxLicenseBytes));
  const bool is_expression =
      std::all_of(license.begin(), license.end(), [](char c) {
        return absl::ascii_isalnum(c) || absl::StrContains(" .-+:()", c);
      });
  if (!is_expression) {
    return absl::InvalidArgumentError(
        "license is not an SPDX expression; expected one as in \"Apache-2.0\" "
        "or \"MIT OR LicenseRef-mine\"");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateSpec(const UploadSpec& spec, uint64_t max_adapter_bytes) {
  RETURN_IF_ERROR(ValidateName(spec.name));
  if (spec.version.has_value()) {
    RETURN_IF_ERROR(ValidateVersion(*spec.version));
  }
  RETURN_IF_ERROR(ValidateLabels(spec.labels));
  RETURN_IF_ERROR(
      ValidateText("description", spec.description, kMaxDescriptionBytes));
  RETURN_IF_ERROR(ValidateText("card", spec.card, kMaxCardBytes));
  RETURN_IF_ERROR(ValidateLicense(spec.license));
  RETURN_IF_ERROR(ValidateText("signer", spec.signer, kMaxSignerBytes));
  RETURN_IF_ERROR(ValidateText("adapter_config", spec.adapter_config,
                               kMaxAdapterConfigBytes));
  if (spec.adapter_config.empty()) {
    return absl::InvalidArgumentError(
        "adapter_config is empty; send the text of PEFT's adapter_config.json");
  }
  if (spec.size_bytes == 0 || spec.size_bytes > max_adapter_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "size_bytes is ", spec.size_bytes, "; it must be in [1, ",
        max_adapter_bytes, "], the size of adapter_model.safetensors"));
  }
  return absl::OkStatus();
}

absl::Status ValidateFacts(const AdapterFacts& facts) {
  RETURN_IF_ERROR(
      ValidateText("peft_type", facts.peft_type, kMaxPeftTypeBytes));
  RETURN_IF_ERROR(
      ValidateText("base_model", facts.base_model, kMaxBaseModelBytes));
  if (facts.target_modules.size() > kMaxTargetModules) {
    return absl::InvalidArgumentError(
        absl::StrCat("target_modules has ", facts.target_modules.size(),
                     " entries; at most ", kMaxTargetModules, " are allowed"));
  }
  for (const std::string& module : facts.target_modules) {
    RETURN_IF_ERROR(
        ValidateText("target_modules", module, kMaxTargetModuleBytes));
  }
  return absl::OkStatus();
}

absl::Status ValidateUpdate(const AdapterUpdate& update) {
  if (update.labels.has_value()) {
    RETURN_IF_ERROR(ValidateLabels(*update.labels));
  }
  if (update.description.has_value()) {
    RETURN_IF_ERROR(
        ValidateText("description", *update.description, kMaxDescriptionBytes));
  }
  if (update.card.has_value()) {
    RETURN_IF_ERROR(ValidateText("card", *update.card, kMaxCardBytes));
  }
  return absl::OkStatus();
}

storage::v1::AdapterManifest MakeManifest(const UploadSpec& spec,
                                          const AdapterFacts& facts,
                                          int64_t version, const Digest& digest,
                                          absl::Time create_time) {
  storage::v1::AdapterManifest manifest;
  manifest.set_name(spec.name);
  manifest.set_version(version);
  manifest.set_digest(EncodeDigest(digest));
  manifest.set_size_bytes(spec.size_bytes);
  manifest.set_safetensors_sha256(EncodeDigest(spec.sha256));
  manifest.mutable_labels()->insert(spec.labels.begin(), spec.labels.end());
  manifest.set_description(spec.description);
  manifest.set_num_parameters(facts.num_parameters);
  manifest.set_peft_type(facts.peft_type);
  manifest.set_min_rank(facts.min_rank);
  manifest.set_max_rank(facts.max_rank);
  for (const std::string& module : facts.target_modules) {
    manifest.add_target_modules(module);
  }
  manifest.set_base_model(facts.base_model);
  manifest.set_base_model_digest(EncodeDigest(facts.base_model_digest));
  manifest.set_kept_energy(facts.kept_energy);
  manifest.set_license(spec.license);
  manifest.set_signer(spec.signer);
  manifest.set_create_time_us(absl::ToUnixMicros(create_time));
  return manifest;
}

absl::StatusOr<AdapterRecord> RecordOf(
    const storage::v1::AdapterManifest& manifest) {
  const std::optional<Digest> digest = ParseDigest(manifest.digest());
  const std::optional<Digest> sha256 =
      ParseDigest(manifest.safetensors_sha256());
  const std::optional<Digest> base = ParseDigest(manifest.base_model_digest());
  if (!digest.has_value() || !sha256.has_value() || !base.has_value()) {
    return DamagedError("manifest");
  }
  AdapterRecord record;
  record.name = manifest.name();
  record.version = manifest.version();
  record.digest = *digest;
  record.size_bytes = manifest.size_bytes();
  record.safetensors_sha256 = *sha256;
  record.labels.insert(manifest.labels().begin(), manifest.labels().end());
  record.description = manifest.description();
  record.license = manifest.license();
  record.signer = manifest.signer();
  record.facts.num_parameters = manifest.num_parameters();
  record.facts.peft_type = manifest.peft_type();
  record.facts.min_rank = manifest.min_rank();
  record.facts.max_rank = manifest.max_rank();
  record.facts.kept_energy =
      manifest.kept_energy() > 0 ? manifest.kept_energy() : 1;
  record.facts.target_modules.assign(manifest.target_modules().begin(),
                                     manifest.target_modules().end());
  record.facts.base_model = manifest.base_model();
  record.facts.base_model_digest = *base;
  record.create_time = absl::FromUnixMicros(manifest.create_time_us());
  return record;
}

absl::StatusOr<AdapterRecord> RecordOf(
    const storage::v1::AdapterTombstone& tombstone, absl::Duration window) {
  ASSIGN_OR_RETURN(AdapterRecord record, RecordOf(tombstone.manifest()));
  record.aliases.assign(tombstone.aliases().begin(), tombstone.aliases().end());
  record.delete_time = absl::FromUnixMicros(tombstone.delete_time_us());
  record.purge_time = *record.delete_time + window;
  return record;
}

absl::StatusOr<storage::v1::AdapterTombstone> ParseTombstone(
    absl::string_view bytes) {
  storage::v1::AdapterTombstone tombstone;
  if (!tombstone.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) ||
      !ParseDigest(tombstone.manifest().digest()).has_value()) {
    return DamagedError("manifest");
  }
  return tombstone;
}

absl::StatusOr<storage::v1::AdapterManifest> ParseManifest(
    absl::string_view bytes) {
  storage::v1::AdapterManifest manifest;
  if (!manifest.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) ||
      !ParseDigest(manifest.digest()).has_value()) {
    return DamagedError("manifest");
  }
  return manifest;
}

absl::StatusOr<storage::v1::BlobHeader> ParseBlobHeader(
    absl::string_view bytes) {
  storage::v1::BlobHeader header;
  if (!header.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) ||
      header.chunk_bytes() == 0 || header.size_bytes() == 0 ||
      header.num_chunks() !=
          NumChunks(header.size_bytes(), header.chunk_bytes()) ||
      !ParseDigest(header.safetensors_sha256()).has_value()) {
    return DamagedError("header");
  }
  return header;
}

}  // namespace stockpot
