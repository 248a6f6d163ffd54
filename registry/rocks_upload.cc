#include "registry/rocks_upload.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "rocksdb/db.h"
#include "rocksdb/write_batch.h"

#include "base/digest.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "registry/adapter_index.h"
#include "registry/adapter_ref.h"
#include "registry/adapter_store.h"
#include "registry/key_codec.h"
#include "registry/record_codec.h"
#include "registry/rocks_db.h"
#include "registry/store_context.h"

namespace stockpot {
namespace {

absl::Status InterruptedError() {
  return absl::UnavailableError(
      "the registry was opened again during this upload; upload again");
}

}  // namespace

RocksUpload::RocksUpload(StoreContext* context, UploadSpec spec,
                         uint64_t upload_id, uint64_t epoch)
    : context_(context),
      spec_(std::move(spec)),
      upload_id_(upload_id),
      epoch_(epoch),
      source_(context->db.get(), upload_id, spec_.size_bytes, kBlobChunkBytes) {
}

RocksUpload::~RocksUpload() {
  if (!handed_over_) {
    RemoveChunks();
  }
  context_->ledger.Finish(spec_.size_bytes);
  context_->namespaces.Finish(NamespaceOf(spec_.name), spec_.size_bytes);
}

void RocksUpload::RemoveChunks() {
  absl::StatusOr<RocksDb::Use> db = context_->db->Acquire();
  // After a failure the audit removes them, when the database is opened again.
  if (num_flushed_ == 0 || !db.ok() || db->epoch() != epoch_) {
    return;
  }
  rocksdb::WriteBatch batch;
  for (uint32_t i = 0; i < num_flushed_; ++i) {
    batch.Delete(ChunkKey({upload_id_, i}));
    batch.Delete(ChunkSizeKey({upload_id_, i}));
  }
  (void)context_->db->Write(**db, &batch, /*sync=*/false,
                            "remove an unfinished upload");
}

absl::Status RocksUpload::FlushChunk() {
  failure_ = WriteChunk();
  return failure_;
}

absl::Status RocksUpload::WriteChunk() {
  ASSIGN_OR_RETURN(const RocksDb::Use db, context_->db->Acquire());
  if (db.epoch() != epoch_) {
    return InterruptedError();
  }
  const ChunkId chunk = {upload_id_, num_flushed_};
  {
    rocksdb::WriteBatch batch(/*reserved_bytes=*/pending_.size() + 256);
    batch.Put(ChunkKey(chunk), pending_);
    batch.Put(ChunkSizeKey(chunk),
              EncodeSize(static_cast<uint32_t>(pending_.size())));
    // Counted first: a failed write may still have been applied.
    ++num_flushed_;
    RETURN_IF_ERROR(context_->db->Write(*db, &batch, /*sync=*/false,
                                        "store a part of the upload"));
  }
  pending_.clear();
  return absl::OkStatus();
}

absl::Status RocksUpload::Append(absl::string_view bytes) {
  if (bytes.size() > spec_.size_bytes - received_bytes_) {
    return absl::InvalidArgumentError(absl::StrCat(
        "more bytes came than size_bytes declared: ", spec_.size_bytes,
        " declared, at least ", received_bytes_ + bytes.size(), " sent"));
  }
  RETURN_IF_ERROR(failure_);
  hash_.Update(bytes);
  received_bytes_ += bytes.size();
  source_.DropCache();
  while (!bytes.empty()) {
    const absl::string_view piece =
        bytes.substr(0, kBlobChunkBytes - pending_.size());
    absl::StrAppend(&pending_, piece);
    bytes.remove_prefix(piece.size());
    if (pending_.size() == kBlobChunkBytes) {
      RETURN_IF_ERROR(FlushChunk());
    }
  }
  if (received_bytes_ == spec_.size_bytes) {
    if (!pending_.empty()) {
      RETURN_IF_ERROR(FlushChunk());
    }
    pending_ = std::string();
    if (!sha256_.has_value()) {
      sha256_ = hash_.Finish();
    }
  }
  return absl::OkStatus();
}

absl::Status RocksUpload::ReadAt(uint64_t offset, absl::Span<char> out) {
  if (offset > received_bytes_ || out.size() > received_bytes_ - offset) {
    return absl::OutOfRangeError(
        absl::StrCat("bytes ", offset, " to ", offset, "+", out.size(),
                     " have not come; ", received_bytes_, " bytes have"));
  }
  const uint64_t flushed = received_bytes_ - pending_.size();
  if (offset < flushed) {
    const size_t length = std::min<uint64_t>(out.size(), flushed - offset);
    RETURN_IF_ERROR(source_.ReadAt(offset, out.subspan(0, length)));
    out.remove_prefix(length);
    offset += length;
  }
  if (!out.empty()) {
    std::memcpy(out.data(), pending_.data() + (offset - flushed), out.size());
  }
  return absl::OkStatus();
}

absl::Status RocksUpload::CheckComplete() {
  RETURN_IF_ERROR(failure_);
  if (received_bytes_ != spec_.size_bytes || !sha256_.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the upload is not complete: size_bytes declared ", spec_.size_bytes,
        ", ", received_bytes_, " came; send the whole file"));
  }
  if (*sha256_ != spec_.sha256) {
    return absl::InvalidArgumentError(
        absl::StrCat("the uploaded bytes do not match sha256: declared ",
                     spec_.sha256.ToHex(), ", got ", sha256_->ToHex(),
                     "; the file changed or was damaged on its way"));
  }
  return absl::OkStatus();
}

absl::StatusOr<CommitResult> RocksUpload::Commit(const AdapterFacts& facts) {
  if (committed_) {
    return absl::FailedPreconditionError("the upload was committed before");
  }
  RETURN_IF_ERROR(CheckComplete());
  RETURN_IF_ERROR(ValidateFacts(facts));
  source_.DropCache();
  RETURN_IF_ERROR(SyncChunks());
  MutexLock lock(&context_->commit_mu);
  ASSIGN_OR_RETURN(CommitResult result, CommitLocked(facts));
  committed_ = true;
  return result;
}

absl::Status RocksUpload::SyncChunks() {
  ASSIGN_OR_RETURN(const RocksDb::Use db, context_->db->Acquire());
  return db.epoch() == epoch_
             ? context_->db->SyncLog(*db, "store the adapter's bytes")
             : InterruptedError();
}

absl::StatusOr<RocksUpload::Place> RocksUpload::FindPlace(
    AdapterIndex& index, const Digest& digest) {
  const std::string content = EncodeDigest(digest);
  Place place;
  ASSIGN_OR_RETURN(std::optional<Manifest> newest,
                   index.FindNewest(spec_.name));
  place.is_new_name = !newest.has_value();
  if (!spec_.version.has_value()) {
    if (newest.has_value() && newest->digest() == content) {
      place.version = newest->version();
      place.existing = std::move(newest);
      return place;
    }
    ASSIGN_OR_RETURN(const int64_t highest, index.HighestVersion(spec_.name));
    place.version = highest + 1;
    if (place.version > kMaxVersion) {
      return absl::FailedPreconditionError(
          absl::StrCat("adapter \"", spec_.name, "\" has version ", kMaxVersion,
                       ", the last one; give a version that is not taken"));
    }
    return place;
  }
  place.version = *spec_.version;
  ASSIGN_OR_RETURN(place.existing, index.Find({spec_.name, place.version}));
  if (place.existing.has_value() && place.existing->digest() != content) {
    return absl::AlreadyExistsError(absl::StrCat(
        "adapter \"", spec_.name, "@", place.version,
        "\" holds other content; a version never changes: leave the version "
        "out or give one that is not taken"));
  }
  if (!place.existing.has_value()) {
    RETURN_IF_ERROR(CheckDeleted(index, digest, &place));
  }
  return place;
}

absl::Status RocksUpload::CheckDeleted(AdapterIndex& index,
                                       const Digest& digest, Place* place) {
  const NameVersion key = {spec_.name, place->version};
  ASSIGN_OR_RETURN(const std::optional<AdapterIndex::Tombstone> tombstone,
                   index.FindTombstone(key));
  ASSIGN_OR_RETURN(const std::optional<AdapterIndex::Grave> grave,
                   index.FindGrave(key));
  place->was_deleted = tombstone.has_value();
  const std::string content = EncodeDigest(digest);
  if ((tombstone.has_value() && tombstone->manifest().digest() != content) ||
      (grave.has_value() && grave->digest() != content)) {
    return absl::AlreadyExistsError(absl::StrCat(
        "adapter \"", spec_.name, "@", place->version,
        "\" was deleted and held other content; a version never changes: "
        "leave the version out or give one that is not taken"));
  }
  return absl::OkStatus();
}

absl::StatusOr<CommitResult> RocksUpload::CommitLocked(
    const AdapterFacts& facts) {
  const Digest digest =
      ContentDigest(spec_.canonical_config.empty() ? spec_.adapter_config
                                                   : spec_.canonical_config,
                    *sha256_);
  ASSIGN_OR_RETURN(const RocksDb::Use db, context_->db->Acquire());
  if (db.epoch() != epoch_) {
    return InterruptedError();
  }
  AdapterIndex index(context_->db.get(), *db);
  ASSIGN_OR_RETURN(Place place, FindPlace(index, digest));
  const bool damaged = context_->blobs.IsQuarantined(digest);
  // The header of a damaged blob may be damaged itself.
  std::optional<AdapterIndex::BlobHeader> stored;
  if (absl::StatusOr<std::optional<AdapterIndex::BlobHeader>> found =
          index.FindBlob(digest);
      found.ok()) {
    stored = *std::move(found);
  } else if (!damaged) {
    return found.status();
  }

  const bool keep_blob = stored.has_value() && !damaged;
  Manifest manifest;
  if (place.existing.has_value()) {
    manifest = *place.existing;
  }
  if (!place.existing.has_value() || !keep_blob) {
    RETURN_IF_ERROR(
        WriteCommit(*db, facts, digest, place, keep_blob, &manifest));
  }
  StoreTotals change;
  change.num_adapters = place.existing.has_value() ? 0 : 1;
  change.num_names = place.is_new_name ? 1 : 0;
  change.num_deleted = place.was_deleted ? -1 : 0;
  change.bytes =
      stored.has_value() ? 0 : static_cast<int64_t>(spec_.size_bytes);
  context_->ledger.Add(change);
  if (!place.existing.has_value() && !place.was_deleted) {
    context_->namespaces.Add(NamespaceOf(spec_.name),
                             {1, static_cast<int64_t>(spec_.size_bytes)});
  }
  if (!keep_blob) {
    context_->blobs.Release(digest);
  }
  CommitResult result;
  result.already_stored = keep_blob;
  ASSIGN_OR_RETURN(result.record, index.Load(manifest));
  return result;
}

absl::Status RocksUpload::WriteCommit(rocksdb::DB& db,
                                      const AdapterFacts& facts,
                                      const Digest& digest, const Place& place,
                                      bool keep_blob, Manifest* manifest) {
  rocksdb::WriteBatch batch;
  if (!keep_blob) {
    AdapterIndex::BlobHeader header;
    header.set_upload_id(upload_id_);
    header.set_num_chunks(static_cast<uint32_t>(source_.num_chunks()));
    header.set_chunk_bytes(kBlobChunkBytes);
    header.set_size_bytes(spec_.size_bytes);
    header.set_safetensors_sha256(EncodeDigest(*sha256_));
    header.set_adapter_config(spec_.adapter_config);
    batch.Put(BlobKey(digest), header.SerializeAsString());
    batch.Delete(DamageMarkKey(digest));
  }
  if (!place.existing.has_value()) {
    const NameVersion key = {spec_.name, place.version};
    *manifest = MakeManifest(spec_, facts, place.version, digest,
                             context_->options.clock());
    batch.Put(ManifestKey(key), manifest->SerializeAsString());
    batch.Put(ReferenceKey(digest, key), "");
    batch.Delete(TombstoneKey(key));
    batch.Delete(GraveKey(key));
    batch.Delete(HoldKey(digest, key));
    if (!spec_.card.empty()) {
      batch.Put(CardKey(key), spec_.card);
    } else if (place.was_deleted) {
      batch.Delete(CardKey(key));
    }
  }
  // Set first: if the write fails, it may still have happened.
  handed_over_ = handed_over_ || !keep_blob;
  return context_->db->Write(db, &batch, /*sync=*/true, "store the adapter");
}

}  // namespace stockpot
