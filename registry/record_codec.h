// Between what the registry's API says and what it writes; and the bounds of
// what may be written. Free functions; thread-safe.

#ifndef STOCKPOT_REGISTRY_RECORD_CODEC_H_
#define STOCKPOT_REGISTRY_RECORD_CODEC_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "proto/stockpot/v1/storage.pb.h"

#include "base/digest.h"
#include "registry/adapter_store.h"
#include "registry/key_codec.h"

namespace stockpot {

// Checks everything in `spec` that needs no look into the store.
// Errors: InvalidArgument, naming the field.
absl::Status ValidateSpec(const UploadSpec& spec, uint64_t max_adapter_bytes);

// Checks the sizes. Errors: InvalidArgument, naming the field.
absl::Status ValidateFacts(const AdapterFacts& facts);

// Errors: InvalidArgument, naming the field.
absl::Status ValidateUpdate(const AdapterUpdate& update);

storage::v1::AdapterManifest MakeManifest(const UploadSpec& spec,
                                          const AdapterFacts& facts,
                                          int64_t version, const Digest& digest,
                                          absl::Time create_time);

// The record without adapter_config, card and aliases, which lie elsewhere.
// Errors: DataLoss (digest of a wrong length).
absl::StatusOr<AdapterRecord> RecordOf(
    const storage::v1::AdapterManifest& manifest);

// The record of an adapter that was deleted and may come back for `window`.
// Errors: as RecordOf() of its manifest.
absl::StatusOr<AdapterRecord> RecordOf(
    const storage::v1::AdapterTombstone& tombstone, absl::Duration window);

// Errors: DataLoss (not a message of this kind, or impossible fields).
absl::StatusOr<storage::v1::AdapterTombstone> ParseTombstone(
    absl::string_view bytes);
absl::StatusOr<storage::v1::AdapterManifest> ParseManifest(
    absl::string_view bytes);
absl::StatusOr<storage::v1::BlobHeader> ParseBlobHeader(
    absl::string_view bytes);

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_RECORD_CODEC_H_
