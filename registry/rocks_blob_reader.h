// Reads a committed blob of a RocksStore; holds a pin on it.

#ifndef STOCKPOT_REGISTRY_ROCKS_BLOB_READER_H_
#define STOCKPOT_REGISTRY_ROCKS_BLOB_READER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "proto/stockpot/v1/storage.pb.h"

#include "base/digest.h"
#include "base/sha256.h"
#include "registry/adapter_store.h"
#include "registry/chunk_source.h"
#include "registry/store_context.h"

namespace stockpot {

class RocksBlobReader final : public BlobReader {
 public:
  RocksBlobReader(StoreContext* context, const Digest& digest,
                  storage::v1::BlobHeader header,
                  std::shared_ptr<const BlobPin> pin);

  const Digest& digest() const override { return digest_; }
  const Digest& safetensors_sha256() const override { return sha256_; }
  uint64_t size_bytes() const override { return header_.size_bytes(); }
  const std::string& adapter_config() const override {
    return header_.adapter_config();
  }
  absl::Status ReadAt(uint64_t offset, absl::Span<char> out) override;
  absl::StatusOr<bool> Next(std::string* chunk) override;

 private:
  // Quarantines the blob if `status` says that its bytes are lost.
  absl::Status Report(absl::Status status);

  StoreContext* const context_;
  const Digest digest_;
  const storage::v1::BlobHeader header_;
  const Digest sha256_;
  const std::shared_ptr<const BlobPin> pin_;
  ChunkSource source_;
  uint32_t next_ = 0;
  Sha256 hash_;
  bool checked_ = false;
};

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_ROCKS_BLOB_READER_H_
