#include "registry/rocks_blob_reader.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "base/digest.h"
#include "base/status_macros.h"
#include "registry/key_codec.h"
#include "registry/quarantine.h"
#include "registry/store_context.h"

namespace stockpot {

RocksBlobReader::RocksBlobReader(StoreContext* context, const Digest& digest,
                                 storage::v1::BlobHeader header,
                                 std::shared_ptr<const BlobPin> pin)
    : context_(context),
      digest_(digest),
      header_(std::move(header)),
      sha256_(ParseDigest(header_.safetensors_sha256()).value_or(Digest{})),
      pin_(std::move(pin)),
      source_(context->db.get(), header_.upload_id(), header_.size_bytes(),
              header_.chunk_bytes()) {}

absl::Status RocksBlobReader::Report(absl::Status status) {
  if (absl::IsDataLoss(status)) {
    QuarantineBlob(context_, digest_, header_.upload_id(), status.message());
  }
  return status;
}

absl::Status RocksBlobReader::ReadAt(uint64_t offset, absl::Span<char> out) {
  return Report(source_.ReadAt(offset, out));
}

absl::StatusOr<bool> RocksBlobReader::Next(std::string* chunk) {
  if (next_ < source_.num_chunks()) {
    RETURN_IF_ERROR(Report(source_.ReadChunk(next_, chunk)));
    hash_.Update(*chunk);
    ++next_;
    return true;
  }
  if (!checked_) {
    checked_ = true;
    if (hash_.Finish() != sha256_) {
      return Report(absl::DataLossError(
          "the registry could not read an adapter: its bytes do not have the "
          "SHA-256 that they were stored with; upload the adapter again"));
    }
  }
  return false;
}

}  // namespace stockpot
