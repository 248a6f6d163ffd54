#include "registry/adapter_bin.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "rocksdb/db.h"
#include "rocksdb/write_batch.h"

#include "proto/stockpot/v1/storage.pb.h"

#include "base/digest.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "registry/adapter_index.h"
#include "registry/adapter_ref.h"
#include "registry/adapter_store.h"
#include "registry/key_codec.h"
#include "registry/recipe_index.h"
#include "registry/rocks_db.h"
#include "registry/store_context.h"

namespace stockpot {
namespace {

// One sync for so many, and commits wait no longer than that.
constexpr size_t kMostPurgedAtOnce = 64;

Digest DigestOf(const AdapterIndex::Manifest& manifest) {
  return ParseDigest(manifest.digest()).value_or(Digest{});
}

absl::Status NotDeleted(const NameVersion& key) {
  return absl::NotFoundError(
      absl::StrCat("adapter \"", key.name, "@", key.version,
                   "\" is not among the deleted ones; it was never stored, is "
                   "stored, or was purged"));
}

}  // namespace

absl::Status AdapterBin::CheckMayGo(AdapterIndex& index, rocksdb::DB& db,
                                    const AdapterRef& ref,
                                    const NameVersion& key,
                                    const Digest& digest) {
  ASSIGN_OR_RETURN(const std::vector<int64_t> versions,
                   index.Versions(key.name, 2));
  ASSIGN_OR_RETURN(const std::vector<NameVersion> names,
                   index.NamesOf(digest, 2));
  if (ref.digest.has_value() && names.size() > 1) {
    return absl::FailedPreconditionError(absl::StrCat(
        "adapter \"", ref.ToString(),
        "\" has several names; delete each by its name and version"));
  }
  if (!ref.digest.has_value() && ref.alias.empty() && ref.version == 0 &&
      versions.size() > 1) {
    return absl::FailedPreconditionError(
        absl::StrCat("adapter \"", key.name,
                     "\" has several versions; say which one to "
                     "delete, for example \"",
                     key.name, "@", versions.front(), "\""));
  }
  if (names.size() > 1) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::optional<NameVersion> user,
                   RecipeIndex(context_->db.get(), db).UserOf(digest));
  if (user.has_value()) {
    return absl::FailedPreconditionError(
        absl::StrCat("adapter \"", key.name, "@", key.version,
                     "\" is used by the saved recipe \"", user->name, "@",
                     user->version, "\"; delete the recipe first"));
  }
  return absl::OkStatus();
}

void AdapterBin::AddPurge(const NameVersion& key, const Manifest& manifest,
                          rocksdb::WriteBatch* batch) {
  storage::v1::AdapterGrave grave;
  grave.set_digest(manifest.digest());
  grave.set_safetensors_sha256(manifest.safetensors_sha256());
  batch->Put(GraveKey(key), grave.SerializeAsString());
  batch->Delete(CardKey(key));
  batch->Delete(TombstoneKey(key));
  batch->Delete(HoldKey(DigestOf(manifest), key));
}

void AdapterBin::Forget(const Manifest& manifest) {
  context_->namespaces.Add(NamespaceOf(manifest.name()),
                           {-1, -static_cast<int64_t>(manifest.size_bytes())});
  context_->blobs.Doom(DigestOf(manifest));
}

absl::StatusOr<NameVersion> AdapterBin::Delete(const AdapterRef& ref,
                                               bool purge) {
  purge = purge || context_->options.undelete_window <= absl::ZeroDuration();
  RETURN_IF_ERROR(context_->EnsureWritable());
  MutexLock lock(&context_->commit_mu);
  ASSIGN_OR_RETURN(const RocksDb::Use db, context_->db->Acquire());
  AdapterIndex index(context_->db.get(), *db);
  ASSIGN_OR_RETURN(const Manifest manifest, index.Locate(ref));
  const NameVersion key = {manifest.name(), manifest.version()};
  const Digest digest = DigestOf(manifest);
  RETURN_IF_ERROR(CheckMayGo(index, *db, ref, key, digest));
  ASSIGN_OR_RETURN(const std::vector<int64_t> versions,
                   index.Versions(key.name, 2));

  Tombstone tombstone;
  rocksdb::WriteBatch batch;
  batch.Delete(ManifestKey(key));
  batch.Delete(ReferenceKey(digest, key));
  ASSIGN_OR_RETURN(const std::vector<AdapterIndex::Alias> aliases,
                   index.AliasesOf(key.name));
  for (const AdapterIndex::Alias& alias : aliases) {
    if (alias.version == key.version) {
      batch.Delete(AliasKey(key.name, alias.alias));
      tombstone.add_aliases(alias.alias);
    }
  }
  if (purge) {
    AddPurge(key, manifest, &batch);
  } else {
    *tombstone.mutable_manifest() = manifest;
    tombstone.set_delete_time_us(absl::ToUnixMicros(context_->options.clock()));
    batch.Put(TombstoneKey(key), tombstone.SerializeAsString());
    batch.Put(HoldKey(digest, key), "");
  }
  RETURN_IF_ERROR(
      context_->db->Write(*db, &batch, /*sync=*/true, "delete the adapter"));
  StoreTotals change;
  change.num_adapters = -1;
  change.num_deleted = purge ? 0 : 1;
  change.num_names = versions.size() == 1 ? -1 : 0;
  context_->ledger.Add(change);
  if (purge) {
    Forget(manifest);
  }
  return key;
}

absl::Status AdapterBin::Undelete(const NameVersion& key) {
  RETURN_IF_ERROR(context_->EnsureWritable());
  MutexLock lock(&context_->commit_mu);
  ASSIGN_OR_RETURN(const RocksDb::Use db, context_->db->Acquire());
  AdapterIndex index(context_->db.get(), *db);
  ASSIGN_OR_RETURN(const std::optional<Tombstone> tombstone,
                   index.FindTombstone(key));
  if (!tombstone.has_value()) {
    return NotDeleted(key);
  }
  const Manifest& manifest = tombstone->manifest();
  const Digest digest = DigestOf(manifest);
  if (context_->blobs.IsQuarantined(digest)) {
    return absl::DataLossError(
        absl::StrCat("adapter \"", key.name, "@", key.version,
                     "\" is quarantined: its stored bytes are damaged; upload "
                     "the same content again to bring it back"));
  }
  ASSIGN_OR_RETURN(const std::vector<int64_t> versions,
                   index.Versions(key.name, 1));
  ASSIGN_OR_RETURN(const std::vector<AdapterIndex::Alias> taken,
                   index.AliasesOf(key.name));
  rocksdb::WriteBatch batch;
  batch.Put(ManifestKey(key), manifest.SerializeAsString());
  batch.Put(ReferenceKey(digest, key), "");
  batch.Delete(TombstoneKey(key));
  batch.Delete(HoldKey(digest, key));
  size_t num_aliases = taken.size();
  for (const std::string& alias : tombstone->aliases()) {
    // One that was set to another version meanwhile stays there.
    const bool is_taken =
        std::any_of(taken.begin(), taken.end(),
                    [&](const auto& other) { return other.alias == alias; });
    if (!is_taken && num_aliases < kMaxAliasesPerName) {
      storage::v1::AliasTarget target;
      target.set_version(key.version);
      batch.Put(AliasKey(key.name, alias), target.SerializeAsString());
      ++num_aliases;
    }
  }
  RETURN_IF_ERROR(
      context_->db->Write(*db, &batch, /*sync=*/true, "undelete the adapter"));
  StoreTotals change;
  change.num_adapters = 1;
  change.num_deleted = -1;
  change.num_names = versions.empty() ? 1 : 0;
  context_->ledger.Add(change);
  return absl::OkStatus();
}

absl::Status AdapterBin::Purge(const AdapterRef& ref) {
  if (ref.version != 0) {
    ASSIGN_OR_RETURN(const uint64_t num_purged,
                     PurgeDeleted({{ref.name, ref.version}}));
    if (num_purged > 0) {
      return absl::OkStatus();
    }
  }
  return Delete(ref, /*purge=*/true).status();
}

absl::StatusOr<uint64_t> AdapterBin::PurgeDeleted(
    absl::Span<const NameVersion> keys) {
  RETURN_IF_ERROR(context_->EnsureWritable());
  MutexLock lock(&context_->commit_mu);
  ASSIGN_OR_RETURN(const RocksDb::Use db, context_->db->Acquire());
  AdapterIndex index(context_->db.get(), *db);
  rocksdb::WriteBatch batch;
  std::vector<Manifest> purged;
  for (const NameVersion& key : keys) {
    ASSIGN_OR_RETURN(std::optional<Tombstone> tombstone,
                     index.FindTombstone(key));
    if (tombstone.has_value()) {
      AddPurge(key, tombstone->manifest(), &batch);
      purged.push_back(std::move(*tombstone->mutable_manifest()));
    }
  }
  if (purged.empty()) {
    return 0;
  }
  RETURN_IF_ERROR(context_->db->Write(*db, &batch, /*sync=*/true,
                                      "purge deleted adapters"));
  StoreTotals change;
  change.num_deleted = -static_cast<int64_t>(purged.size());
  context_->ledger.Add(change);
  for (const Manifest& manifest : purged) {
    Forget(manifest);
  }
  return purged.size();
}

absl::StatusOr<uint64_t> AdapterBin::PurgeExpired(
    const std::function<bool()>& stop) {
  const absl::Time limit =
      context_->options.clock() - context_->options.undelete_window;
  uint64_t num_purged = 0;
  std::optional<NameVersion> last;
  while (!stop()) {
    std::vector<NameVersion> expired;
    {
      ASSIGN_OR_RETURN(const RocksDb::Use db, context_->db->Acquire());
      AdapterIndex index(context_->db.get(), *db);
      ASSIGN_OR_RETURN(expired,
                       index.FindDeletedBefore(limit, last, kMostPurgedAtOnce));
    }
    if (expired.empty()) {
      break;
    }
    // Some may have been undeleted, purged or uploaded again meanwhile.
    ASSIGN_OR_RETURN(const uint64_t num, PurgeDeleted(expired));
    num_purged += num;
    last = expired.back();
  }
  return num_purged;
}

}  // namespace stockpot
