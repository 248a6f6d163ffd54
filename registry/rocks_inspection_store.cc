#include "registry/rocks_inspection_store.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "rocksdb/db.h"
#include "rocksdb/options.h"
#include "rocksdb/write_batch.h"

#include "proto/stockpot/v1/storage.pb.h"

#include "base/digest.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "registry/adapter_index.h"
#include "registry/key_codec.h"
#include "registry/rocks_db.h"
#include "registry/store_context.h"

namespace stockpot {

absl::StatusOr<std::optional<std::string>> RocksInspectionStore::Find(
    const Digest& digest) {
  ASSIGN_OR_RETURN(const RocksDb::Use db, context_->db->Acquire());
  std::string value;
  const rocksdb::Status status =
      db->Get(rocksdb::ReadOptions(), InspectionKey(digest), &value);
  storage::v1::BlobInspection stored;
  if (status.IsNotFound() || (status.ok() && !stored.ParseFromString(value))) {
    return std::nullopt;
  }
  if (const absl::Status read =
          context_->db->Convert(status, "read an inspection");
      !read.ok()) {
    if (absl::IsDataLoss(read)) {
      return std::nullopt;
    }
    return read;
  }
  return std::move(*stored.mutable_inspection());
}

absl::Status RocksInspectionStore::Put(const Digest& digest,
                                       absl::string_view inspection) {
  if (inspection.size() > kMaxInspectionBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("an inspection takes ", inspection.size(),
                     " bytes; at most ", kMaxInspectionBytes));
  }
  storage::v1::BlobInspection stored;
  stored.set_inspection(std::string(inspection));
  // The sweeper holds it too: what is put is never left without its blob.
  MutexLock lock(&context_->commit_mu);
  ASSIGN_OR_RETURN(const RocksDb::Use db, context_->db->Acquire());
  ASSIGN_OR_RETURN(const std::optional<AdapterIndex::BlobHeader> header,
                   AdapterIndex(context_->db.get(), *db).FindBlob(digest));
  if (!header.has_value()) {
    return absl::NotFoundError(absl::StrCat("no adapter with digest ",
                                            digest.ToString(), " is stored"));
  }
  rocksdb::WriteBatch batch;
  batch.Put(InspectionKey(digest), stored.SerializeAsString());
  return context_->db->Write(*db, &batch, /*sync=*/false,
                             "store an inspection");
}

}  // namespace stockpot
