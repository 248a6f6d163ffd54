#include "registry/quarantine.h"

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "rocksdb/db.h"
#include "rocksdb/write_batch.h"

#include "proto/stockpot/v1/storage.pb.h"

#include "base/digest.h"
#include "base/log.h"
#include "base/mutex.h"
#include "registry/adapter_index.h"
#include "registry/key_codec.h"
#include "registry/rocks_db.h"
#include "registry/store_context.h"

namespace stockpot {
namespace {

// True if the bytes behind `digest` are still those of `upload_id`.
bool Holds(StoreContext* context, rocksdb::DB& db, const Digest& digest,
           uint64_t upload_id) {
  const absl::StatusOr<std::optional<AdapterIndex::BlobHeader>> header =
      AdapterIndex(context->db.get(), db).FindBlob(digest);
  return header.ok() && header->has_value() &&
         (*header)->upload_id() == upload_id;
}

}  // namespace

std::string EncodeDamageMark(uint64_t upload_id) {
  storage::v1::DamageMark mark;
  mark.set_upload_id(upload_id);
  return mark.SerializeAsString();
}

uint64_t ParseDamageMark(absl::string_view bytes) {
  storage::v1::DamageMark mark;
  return mark.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))
             ? mark.upload_id()
             : 0;
}

void QuarantineBlob(StoreContext* context, const Digest& digest,
                    uint64_t upload_id, absl::string_view why) {
  MutexLock lock(&context->commit_mu);
  const absl::StatusOr<RocksDb::Use> db = context->db->Acquire();
  if (!db.ok() || !Holds(context, **db, digest, upload_id) ||
      context->blobs.IsQuarantined(digest)) {
    return;
  }
  context->blobs.Quarantine(digest);
  context->options.log(
      Severity::kError,
      absl::StrCat("adapter ", digest.ToString(), " is quarantined: ", why));
  rocksdb::WriteBatch batch;
  batch.Put(DamageMarkKey(digest), EncodeDamageMark(upload_id));
  if (const absl::Status status = context->db->Write(
          **db, &batch, /*sync=*/true, "mark a damaged adapter");
      !status.ok()) {
    context->options.log(
        Severity::kWarning,
        absl::StrCat("the quarantine of adapter ", digest.ToString(),
                     " is forgotten at the next start, until its damage is "
                     "found again: ",
                     status.message()));
  }
}

void LiftQuarantine(StoreContext* context, const Digest& digest,
                    uint64_t upload_id) {
  if (!context->blobs.IsQuarantined(digest)) {
    return;
  }
  MutexLock lock(&context->commit_mu);
  const absl::StatusOr<RocksDb::Use> db = context->db->Acquire();
  if (!db.ok() || !Holds(context, **db, digest, upload_id)) {
    return;
  }
  rocksdb::WriteBatch batch;
  batch.Delete(DamageMarkKey(digest));
  // A mark that stays is lifted after the next start. Its error was logged.
  (void)context->db->Write(**db, &batch, /*sync=*/true,
                           "lift an adapter's quarantine");
  context->blobs.Release(digest);
  context->options.log(
      Severity::kWarning,
      absl::StrCat("adapter ", digest.ToString(),
                   " reads well again and is out of quarantine; its disk did "
                   "not always return what was written"));
}

}  // namespace stockpot
