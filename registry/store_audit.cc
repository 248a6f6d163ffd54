#include "registry/store_audit.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "rocksdb/db.h"
#include "rocksdb/metadata.h"
#include "rocksdb/options.h"
#include "rocksdb/status.h"
#include "rocksdb/write_batch.h"

#include "proto/stockpot/v1/storage.pb.h"

#include "base/digest.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "registry/adapter_index.h"
#include "registry/adapter_ref.h"
#include "registry/chunk_source.h"
#include "registry/key_codec.h"
#include "registry/quarantine.h"
#include "registry/record_codec.h"
#include "registry/rocks_db.h"

namespace stockpot {
namespace {

constexpr absl::string_view kAuditing = "check its contents";

class Auditor {
 public:
  Auditor(RocksDb& owner, rocksdb::DB& db, const RocksDb::LogSink& log)
      : owner_(owner), db_(db), log_(log), writable_(owner.writable()) {}

  absl::Status ReadManifests();
  absl::Status ReadTombstones();
  absl::Status CountRecipes();
  absl::Status ReadBlobs(const std::function<bool(const Digest&)>& is_pinned);
  absl::Status ReadDamageMarks();
  absl::Status ReadChunkSizes();
  absl::Status ReadBlobFiles();
  absl::Status Finish();

  AuditResult result;

 private:
  struct Blob {
    Digest digest;
    uint64_t size_bytes = 0;
    uint32_t chunk_bytes = 0;
    // Of its chunks found so far, in order.
    uint64_t num_found = 0;
    bool whole = true;
  };

  void AddUsage(const AdapterIndex::Manifest& manifest);
  void MarkDamaged(const Digest& digest, absl::string_view why);
  // Removes `key` with the next batch.
  absl::Status Remove(absl::string_view key);
  absl::Status WriteBatch();

  RocksDb& owner_;
  rocksdb::DB& db_;
  const RocksDb::LogSink& log_;
  const bool writable_;
  absl::flat_hash_set<Digest> named_;
  absl::flat_hash_map<uint64_t, Blob> blobs_;  // By upload.
  rocksdb::WriteBatch batch_;
};

void Auditor::MarkDamaged(const Digest& digest, absl::string_view why) {
  if (result.damaged.insert(digest).second) {
    log_(Severity::kError,
         absl::StrCat("adapter ", digest.ToString(), " is quarantined: ", why,
                      "; upload it again or delete it"));
  }
}

void Auditor::AddUsage(const AdapterIndex::Manifest& manifest) {
  NamespaceUsage& usage = result.namespaces[NamespaceOf(manifest.name())];
  ++usage.num_adapters;
  usage.bytes += static_cast<int64_t>(manifest.size_bytes());
}

absl::Status Auditor::Remove(absl::string_view key) {
  if (!writable_) {
    return absl::OkStatus();
  }
  batch_.Delete(ToSlice(key));
  return batch_.Count() < 4096 ? absl::OkStatus() : WriteBatch();
}

absl::Status Auditor::WriteBatch() {
  if (batch_.Count() == 0) {
    return absl::OkStatus();
  }
  absl::Status status =
      owner_.Write(db_, &batch_, /*sync=*/false, "remove unfinished uploads");
  batch_.Clear();
  return status;
}

absl::Status Auditor::ReadManifests() {
  RangeIterator it(db_, kManifestKeys);
  std::string last_name;
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    const std::optional<NameVersion> key = ParseManifestKey(it.key());
    const absl::StatusOr<AdapterIndex::Manifest> manifest =
        ParseManifest(it.value());
    if (!key.has_value() || !manifest.ok()) {
      return absl::DataLossError(
          "the registry's index is damaged: a manifest cannot be read");
    }
    ++result.totals.num_adapters;
    result.totals.num_names += key->name != last_name ? 1 : 0;
    last_name = key->name;
    AddUsage(*manifest);
    named_.insert(*ParseDigest(manifest->digest()));
  }
  return owner_.Convert(it->status(), kAuditing);
}

absl::Status Auditor::ReadTombstones() {
  RangeIterator it(db_, kTombstoneKeys);
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    ASSIGN_OR_RETURN(const AdapterIndex::Tombstone tombstone,
                     ParseTombstone(it.value()));
    ++result.totals.num_deleted;
    AddUsage(tombstone.manifest());
    named_.insert(*ParseDigest(tombstone.manifest().digest()));
  }
  return owner_.Convert(it->status(), kAuditing);
}

absl::Status Auditor::CountRecipes() {
  RangeIterator it(db_, kRecipeKeys);
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    ++result.totals.num_recipes;
  }
  return owner_.Convert(it->status(), kAuditing);
}

absl::Status Auditor::ReadBlobs(
    const std::function<bool(const Digest&)>& is_pinned) {
  absl::flat_hash_set<Digest> missing = named_;
  RangeIterator it(db_, kBlobKeys);
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    const std::optional<Digest> digest = ParseBlobKey(it.key());
    if (!digest.has_value()) {
      return absl::DataLossError("the registry's index is damaged");
    }
    missing.erase(*digest);
    if (!named_.contains(*digest) && !is_pinned(*digest)) {
      ++result.num_orphan_blobs;
      // Before the header: what is put is never left without its blob.
      RETURN_IF_ERROR(Remove(InspectionKey(*digest)));
      RETURN_IF_ERROR(Remove(it.key()));
      continue;
    }
    const absl::StatusOr<AdapterIndex::BlobHeader> header =
        ParseBlobHeader(it.value());
    if (!header.ok()) {
      MarkDamaged(*digest, "its header is damaged");
      continue;
    }
    result.totals.bytes += static_cast<int64_t>(header->size_bytes());
    result.last_upload_id =
        std::max<uint64_t>(result.last_upload_id, header->upload_id());
    blobs_[header->upload_id()] = {*digest, header->size_bytes(),
                                   header->chunk_bytes()};
  }
  for (const Digest& digest : missing) {
    MarkDamaged(digest, "its header is missing");
  }
  return owner_.Convert(it->status(), kAuditing);
}

absl::Status Auditor::ReadDamageMarks() {
  RangeIterator it(db_, kDamageMarkKeys);
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    const std::optional<Digest> digest = ParseDamageMarkKey(it.key());
    const auto blob = blobs_.find(ParseDamageMark(it.value()));
    if (digest.has_value() && blob != blobs_.end() &&
        blob->second.digest == *digest) {
      MarkDamaged(*digest, "its bytes were found damaged before");
    } else {
      // Of bytes that are gone.
      RETURN_IF_ERROR(Remove(it.key()));
    }
  }
  return owner_.Convert(it->status(), kAuditing);
}

absl::Status Auditor::ReadChunkSizes() {
  RangeIterator it(db_, kChunkSizeKeys);
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    const std::optional<ChunkId> chunk = ParseChunkSizeKey(it.key());
    const std::optional<uint32_t> size = ParseSize(it.value());
    if (!chunk.has_value() || !size.has_value()) {
      return absl::DataLossError("the registry's index is damaged");
    }
    result.last_upload_id = std::max(result.last_upload_id, chunk->upload_id);
    const auto found = blobs_.find(chunk->upload_id);
    if (found == blobs_.end()) {
      ++result.num_orphan_chunks;
      RETURN_IF_ERROR(Remove(it.key()));
      RETURN_IF_ERROR(Remove(ChunkKey(*chunk)));
      continue;
    }
    Blob& blob = found->second;
    const uint64_t start = uint64_t{chunk->index} * blob.chunk_bytes;
    blob.whole =
        blob.whole && chunk->index == blob.num_found &&
        start < blob.size_bytes &&
        *size == std::min<uint64_t>(blob.chunk_bytes, blob.size_bytes - start);
    ++blob.num_found;
  }
  for (const auto& [upload_id, blob] : blobs_) {
    if (!blob.whole ||
        blob.num_found != NumChunks(blob.size_bytes, blob.chunk_bytes)) {
      MarkDamaged(blob.digest, "some of its chunks are missing");
    }
  }
  return owner_.Convert(it->status(), kAuditing);
}

absl::Status Auditor::ReadBlobFiles() {
  rocksdb::ColumnFamilyMetaData metadata;
  db_.GetColumnFamilyMetaData(&metadata);
  bool whole = true;
  for (const rocksdb::BlobMetaData& file : metadata.blob_files) {
    // The metadata gives the folder and, with a slash before it, the name.
    const std::string path =
        absl::StrCat(file.blob_file_path, "/", file.blob_file_name);
    struct stat info = {};
    if (stat(path.c_str(), &info) != 0 ||
        static_cast<uint64_t>(info.st_size) < file.blob_file_size) {
      whole = false;
      log_(Severity::kError,
           absl::StrCat("blob file ", path, " is missing or short"));
    }
  }
  if (whole) {
    return absl::OkStatus();
  }
  for (const auto& [upload_id, blob] : blobs_) {
    for (uint32_t i = 0; i < NumChunks(blob.size_bytes, blob.chunk_bytes);
         ++i) {
      rocksdb::PinnableSlice value;
      const rocksdb::Status status =
          db_.Get(rocksdb::ReadOptions(), db_.DefaultColumnFamily(),
                  ChunkKey({upload_id, i}), &value);
      if (!status.ok()) {
        MarkDamaged(blob.digest, "some of its chunks cannot be read");
        break;
      }
    }
  }
  return absl::OkStatus();
}

absl::Status Auditor::Finish() {
  RETURN_IF_ERROR(WriteBatch());
  if (result.num_orphan_chunks > 0 || result.num_orphan_blobs > 0) {
    log_(Severity::kInfo,
         absl::StrCat("removed ", result.num_orphan_chunks,
                      " chunks of unfinished uploads and ",
                      result.num_orphan_blobs, " blobs that nothing names"));
  }
  return absl::OkStatus();
}

absl::Status WriteFormat(RocksDb& owner, rocksdb::DB& db) {
  storage::v1::StoreFormat format;
  format.set_version(kStoreFormat);
  rocksdb::WriteBatch batch;
  batch.Put(ToSlice(kFormatKey), format.SerializeAsString());
  return owner.Write(db, &batch, /*sync=*/true, "write its format");
}

}  // namespace

absl::Status CheckFormat(RocksDb& owner, rocksdb::DB& db,
                         const RocksDb::LogSink& log) {
  storage::v1::StoreFormat format;
  std::string value;
  const rocksdb::Status status =
      db.Get(rocksdb::ReadOptions(), ToSlice(kFormatKey), &value);
  if (status.ok()) {
    if (!format.ParseFromString(value) || format.version() == 0) {
      return absl::DataLossError("the registry's format version is damaged");
    }
    if (format.version() > kStoreFormat) {
      return absl::FailedPreconditionError(absl::StrCat(
          "the registry was written in format ", format.version(),
          " by a newer Stockpot; this build reads formats up to ", kStoreFormat,
          ": run the newer build, or restore an older backup"));
    }
    if (format.version() < kStoreFormat && owner.writable()) {
      log(Severity::kInfo,
          absl::StrCat("raising the format from ", format.version(), " to ",
                       kStoreFormat, "; older builds will refuse it"));
      return WriteFormat(owner, db);
    }
    return absl::OkStatus();
  }
  if (!status.IsNotFound()) {
    return owner.Convert(status, kAuditing);
  }
  std::unique_ptr<rocksdb::Iterator> it(db.NewIterator(rocksdb::ReadOptions()));
  it->SeekToFirst();
  if (it->Valid()) {
    return absl::FailedPreconditionError(
        "the registry's folder holds a database that Stockpot did not write");
  }
  RETURN_IF_ERROR(owner.Convert(it->status(), kAuditing));
  return WriteFormat(owner, db);
}

absl::StatusOr<AuditResult> AuditStore(
    RocksDb& owner, rocksdb::DB& db,
    const std::function<bool(const Digest&)>& is_pinned,
    const RocksDb::LogSink& log) {
  Auditor auditor(owner, db, log);
  RETURN_IF_ERROR(auditor.ReadManifests());
  RETURN_IF_ERROR(auditor.ReadTombstones());
  RETURN_IF_ERROR(auditor.CountRecipes());
  RETURN_IF_ERROR(auditor.ReadBlobs(is_pinned));
  RETURN_IF_ERROR(auditor.ReadDamageMarks());
  RETURN_IF_ERROR(auditor.ReadChunkSizes());
  RETURN_IF_ERROR(auditor.ReadBlobFiles());
  RETURN_IF_ERROR(auditor.Finish());
  return std::move(auditor.result);
}

}  // namespace stockpot
