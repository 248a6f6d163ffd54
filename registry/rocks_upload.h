// An upload into a RocksStore: chunks as they come, their sync, and one synced
// write at the end.

#ifndef STOCKPOT_REGISTRY_ROCKS_UPLOAD_H_
#define STOCKPOT_REGISTRY_ROCKS_UPLOAD_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "base/digest.h"
#include "base/sha256.h"
#include "registry/adapter_index.h"
#include "registry/adapter_store.h"
#include "registry/chunk_source.h"
#include "registry/store_context.h"

namespace stockpot {

class RocksUpload final : public Upload {
 public:
  // `upload_id` comes from the ledger and goes back to it with the upload;
  // `epoch` is the database's at the start. REQUIRES: `spec` was validated.
  RocksUpload(StoreContext* context, UploadSpec spec, uint64_t upload_id,
              uint64_t epoch);
  ~RocksUpload() override;

  absl::Status Append(absl::string_view bytes) override;
  absl::Status ReadAt(uint64_t offset, absl::Span<char> out) override;
  uint64_t received_bytes() const override { return received_bytes_; }
  absl::Status CheckComplete() override;
  absl::StatusOr<CommitResult> Commit(const AdapterFacts& facts) override;

 private:
  using Manifest = AdapterIndex::Manifest;

  // Where the commit goes: a version to write, or what is stored already.
  struct Place {
    int64_t version = 0;
    bool is_new_name = false;
    bool was_deleted = false;  // And may have come back.
    std::optional<Manifest> existing;
  };

  // Writes `pending_` and empties it; an error stays for good.
  absl::Status FlushChunk();
  absl::Status WriteChunk();
  // Before the commit names the chunks, a log of theirs must not be lost.
  absl::Status SyncChunks();
  void RemoveChunks();
  // Fills `place` for a version that is not stored but may have been.
  absl::Status CheckDeleted(AdapterIndex& index, const Digest& digest,
                            Place* place);
  absl::StatusOr<Place> FindPlace(AdapterIndex& index, const Digest& digest);
  absl::StatusOr<CommitResult> CommitLocked(const AdapterFacts& facts)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(context_->commit_mu);
  // Writes the manifest, unless `place` has one, and the blob's header, unless
  // `keep_blob`.
  absl::Status WriteCommit(rocksdb::DB& db, const AdapterFacts& facts,
                           const Digest& digest, const Place& place,
                           bool keep_blob, Manifest* manifest)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(context_->commit_mu);

  StoreContext* const context_;
  const UploadSpec spec_;
  const uint64_t upload_id_;
  const uint64_t epoch_;
  ChunkSource source_;
  Sha256 hash_;
  std::optional<Digest> sha256_;  // Of all bytes, once they are there.
  std::string pending_;           // Less than one chunk, between calls.
  uint32_t num_flushed_ = 0;
  uint64_t received_bytes_ = 0;
  absl::Status failure_;
  // True once the chunks belong to a blob, or may: they are then not ours to
  // remove.
  bool handed_over_ = false;
  bool committed_ = false;
};

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_ROCKS_UPLOAD_H_
