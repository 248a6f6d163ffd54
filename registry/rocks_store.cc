#include "registry/rocks_store.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "rocksdb/db.h"
#include "rocksdb/options.h"
#include "rocksdb/write_batch.h"

#include "proto/stockpot/v1/storage.pb.h"

#include "base/digest.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "registry/adapter_bin.h"
#include "registry/adapter_index.h"
#include "registry/adapter_ref.h"
#include "registry/adapter_store.h"
#include "registry/chunk_source.h"
#include "registry/key_codec.h"
#include "registry/periodic_task.h"
#include "registry/record_codec.h"
#include "registry/registry_backup.h"
#include "registry/rocks_blob_reader.h"
#include "registry/rocks_db.h"
#include "registry/rocks_inspection_store.h"
#include "registry/rocks_recipe_store.h"
#include "registry/rocks_upload.h"
#include "registry/scrubber.h"
#include "registry/store_audit.h"
#include "registry/store_context.h"

namespace stockpot {
namespace {

absl::Status CheckVersioned(const AdapterRef& ref) {
  return ref.version != 0
             ? absl::OkStatus()
             : absl::InvalidArgumentError(absl::StrCat(
                   "\"", ref.ToString(),
                   "\" does not say which version; a deleted adapter is "
                   "called \"name@version\""));
}

// The RocksStore that Open() returns.
class OpenedStore final : public RocksStore {
 public:
  explicit OpenedStore(RocksStoreOptions options)
      : context_(std::move(options)) {}
  ~OpenedStore() override;

  absl::Status Init();

  absl::StatusOr<ResolvedAdapter> Resolve(const AdapterRef& ref) override;
  absl::StatusOr<AdapterRecord> Get(const AdapterRef& ref) override;
  absl::StatusOr<AdapterPage> List(const ListOptions& options) override;
  absl::StatusOr<std::unique_ptr<BlobReader>> OpenBlob(
      const Digest& digest) override;
  absl::StatusOr<std::unique_ptr<Upload>> BeginUpload(UploadSpec spec) override;
  absl::Status Delete(const AdapterRef& ref) override;
  absl::StatusOr<AdapterRecord> Undelete(const AdapterRef& ref) override;
  absl::Status Purge(const AdapterRef& ref) override { return bin_.Purge(ref); }
  absl::StatusOr<AdapterRecord> GetDeleted(const AdapterRef& ref) override;
  absl::StatusOr<AdapterRecord> SetAlias(absl::string_view name,
                                         absl::string_view alias,
                                         int64_t version) override
      ABSL_LOCKS_EXCLUDED(context_.commit_mu);
  absl::Status DeleteAlias(absl::string_view name,
                           absl::string_view alias) override
      ABSL_LOCKS_EXCLUDED(context_.commit_mu);
  absl::StatusOr<AdapterRecord> Update(const AdapterRef& ref,
                                       const AdapterUpdate& update) override
      ABSL_LOCKS_EXCLUDED(context_.commit_mu);
  StoreStats Stats() override;

  RecipeStore& recipes() override { return recipes_; }
  Scrubber& scrubber() override { return scrubber_; }
  absl::StatusOr<std::unique_ptr<RegistryBackup>> BeginBackup() override {
    return RegistryBackup::Begin(&context_);
  }
  absl::Status Recover() override { return context_.EnsureWritable(); }
  InspectionStore& inspections() override { return inspections_; }
  absl::StatusOr<uint64_t> PurgeExpired() override;
  void WaitForSweep() override { context_.blobs.WaitUntilIdle(); }
  absl::StatusOr<uint64_t> CountChunks() override;
  absl::Status Flush() override;

 private:
  // Runs on each freshly opened database.
  absl::Status Audit(RocksDb& owner, rocksdb::DB& db);
  // The sweeper's two steps.
  void RemoveBlob(const Digest& digest) ABSL_LOCKS_EXCLUDED(context_.commit_mu);
  absl::Status RemoveChunks(rocksdb::DB& db, const Digest& digest);
  void ReclaimSpace();

  absl::Status CheckNotDamaged(const Digest& digest, absl::string_view what);
  absl::StatusOr<AdapterRecord> LoadChecked(
      AdapterIndex& index, const AdapterIndex::Manifest& manifest);

  StoreContext context_;
  RocksRecipeStore recipes_{&context_};
  RocksInspectionStore inspections_{&context_};
  AdapterBin bin_{&context_};
  Scrubber scrubber_{&context_};
  std::atomic<bool> stopping_ = false;
  PeriodicTask purging_;
};

OpenedStore::~OpenedStore() {
  stopping_ = true;
  scrubber_.Stop();
  purging_.Stop();
  context_.blobs.Stop();
}

absl::Status OpenedStore::Init() {
  RocksDb::Options options;
  options.path = context_.options.path;
  options.write_buffer_bytes = context_.options.write_buffer_bytes;
  options.block_cache_bytes = context_.options.block_cache_bytes;
  options.log = context_.options.log;
  ASSIGN_OR_RETURN(context_.db,
                   RocksDb::Open(std::move(options),
                                 [this](RocksDb& owner, rocksdb::DB& db) {
                                   return Audit(owner, db);
                                 }));
  RegistryBackup::RemoveLeftovers(&context_);
  scrubber_.Start(context_.options.scrub_period);
  context_.blobs.Start([this](const Digest& digest) { RemoveBlob(digest); },
                       [this] { ReclaimSpace(); });
  if (const absl::Duration window = context_.options.undelete_window;
      window > absl::ZeroDuration()) {
    // An error was logged; the next pass tries again.
    purging_.Start(
        std::clamp(window / 8, absl::Milliseconds(100), absl::Hours(1)),
        [this] { (void)PurgeExpired(); });
  }
  return absl::OkStatus();
}

absl::Status OpenedStore::Audit(RocksDb& owner, rocksdb::DB& db) {
  RETURN_IF_ERROR(CheckFormat(owner, db, context_.options.log));
  ASSIGN_OR_RETURN(AuditResult result,
                   AuditStore(
                       owner, db,
                       [this](const Digest& digest) {
                         return context_.blobs.IsPinned(digest);
                       },
                       context_.options.log));
  context_.ledger.Reset(result.totals, result.last_upload_id);
  context_.namespaces.Reset(result.namespaces);
  context_.blobs.SetQuarantine(std::move(result.damaged));
  return absl::OkStatus();
}

void OpenedStore::RemoveBlob(const Digest& digest) {
  MutexLock lock(&context_.commit_mu);
  const absl::StatusOr<RocksDb::Use> db = context_.db->Acquire();
  if (!db.ok()) {
    return;  // The next audit removes it.
  }
  AdapterIndex index(context_.db.get(), **db);
  const absl::StatusOr<std::vector<NameVersion>> names =
      index.NamesOf(digest, 1);
  const absl::StatusOr<bool> held = index.IsHeld(digest);
  if (!names.ok() || !names->empty() || !held.ok() || *held ||
      !context_.blobs.BeginRemoval(digest)) {
    return;
  }
  // An error was logged; the next audit removes what is left.
  (void)RemoveChunks(**db, digest);
  context_.blobs.EndRemoval(digest);
}

absl::Status OpenedStore::RemoveChunks(rocksdb::DB& db, const Digest& digest) {
  rocksdb::WriteBatch batch;
  batch.Delete(BlobKey(digest));
  batch.Delete(InspectionKey(digest));
  batch.Delete(DamageMarkKey(digest));
  StoreTotals change;
  const absl::StatusOr<std::optional<AdapterIndex::BlobHeader>> header =
      AdapterIndex(context_.db.get(), db).FindBlob(digest);
  // Without a readable header the next audit finds the chunks.
  if (header.ok() && header->has_value()) {
    change.bytes = -static_cast<int64_t>((*header)->size_bytes());
    for (uint32_t i = 0; i < (*header)->num_chunks(); ++i) {
      batch.Delete(ChunkKey({(*header)->upload_id(), i}));
      batch.Delete(ChunkSizeKey({(*header)->upload_id(), i}));
    }
  }
  // What took the last name away was synced, so it is not lost behind this.
  RETURN_IF_ERROR(context_.db->Write(db, &batch, /*sync=*/false,
                                     "remove an adapter's bytes"));
  context_.blobs.Release(digest);
  context_.ledger.Add(change);
  return absl::OkStatus();
}

void OpenedStore::ReclaimSpace() {
  const absl::StatusOr<RocksDb::Use> db = context_.db->Acquire();
  if (!db.ok() || stopping_ || context_.db->needs_reopen()) {
    return;
  }
  // Blob files go when no table refers to them; the tables themselves are
  // small. Without this, space would come back only after more uploads.
  std::atomic<bool>* const canceled = &stopping_;
  rocksdb::CompactRangeOptions options;
  options.exclusive_manual_compaction = false;
  options.canceled = canceled;
  const rocksdb::Slice begin = ToSlice(kChunkKeys.begin);
  const rocksdb::Slice end = ToSlice(kChunkKeys.end);
  const rocksdb::Status status = (*db)->CompactRange(options, &begin, &end);
  if (!status.ok() && !stopping_) {
    (void)context_.db->Convert(status, "reclaim space");
  }
}

absl::Status OpenedStore::CheckNotDamaged(const Digest& digest,
                                          absl::string_view what) {
  if (context_.blobs.IsQuarantined(digest)) {
    return absl::DataLossError(
        absl::StrCat("adapter \"", what,
                     "\" is quarantined: its stored bytes are damaged; upload "
                     "the same content again to repair it, or delete it"));
  }
  return absl::OkStatus();
}

absl::StatusOr<AdapterRecord> OpenedStore::LoadChecked(
    AdapterIndex& index, const AdapterIndex::Manifest& manifest) {
  const std::optional<Digest> digest = ParseDigest(manifest.digest());
  RETURN_IF_ERROR(
      CheckNotDamaged(digest.value_or(Digest{}),
                      absl::StrCat(manifest.name(), "@", manifest.version())));
  return index.Load(manifest);
}

absl::StatusOr<ResolvedAdapter> OpenedStore::Resolve(const AdapterRef& ref) {
  ASSIGN_OR_RETURN(const RocksDb::Use db, context_.db->Acquire());
  AdapterIndex index(context_.db.get(), *db);
  ASSIGN_OR_RETURN(const AdapterIndex::Manifest manifest, index.Locate(ref));
  ASSIGN_OR_RETURN(AdapterRecord record, RecordOf(manifest));
  RETURN_IF_ERROR(CheckNotDamaged(record.digest, ref.ToString()));
  ResolvedAdapter resolved;
  resolved.name = std::move(record.name);
  resolved.version = record.version;
  resolved.digest = record.digest;
  resolved.size_bytes = record.size_bytes;
  resolved.base_model_digest = record.facts.base_model_digest;
  resolved.pin = context_.blobs.Pin(record.digest);
  // It may have been removed just before the pin; not after.
  ASSIGN_OR_RETURN(const std::optional<AdapterIndex::BlobHeader> header,
                   index.FindBlob(record.digest));
  if (!header.has_value()) {
    return absl::NotFoundError(
        absl::StrCat("adapter \"", ref.ToString(), "\" was deleted just now"));
  }
  return resolved;
}

absl::StatusOr<AdapterRecord> OpenedStore::Get(const AdapterRef& ref) {
  ASSIGN_OR_RETURN(const RocksDb::Use db, context_.db->Acquire());
  AdapterIndex index(context_.db.get(), *db);
  ASSIGN_OR_RETURN(const AdapterIndex::Manifest manifest, index.Locate(ref));
  return LoadChecked(index, manifest);
}

absl::StatusOr<AdapterPage> OpenedStore::List(const ListOptions& options) {
  ASSIGN_OR_RETURN(const RocksDb::Use db, context_.db->Acquire());
  AdapterIndex index(context_.db.get(), *db);
  const auto is_damaged = [this](const Digest& digest) {
    return context_.blobs.IsQuarantined(digest);
  };
  return options.deleted
             ? index.ListDeleted(options, context_.options.undelete_window,
                                 is_damaged)
             : index.List(options, is_damaged);
}

absl::StatusOr<std::unique_ptr<BlobReader>> OpenedStore::OpenBlob(
    const Digest& digest) {
  RETURN_IF_ERROR(CheckNotDamaged(digest, digest.ToString()));
  ASSIGN_OR_RETURN(const RocksDb::Use db, context_.db->Acquire());
  std::shared_ptr<const BlobPin> pin = context_.blobs.Pin(digest);
  ASSIGN_OR_RETURN(std::optional<AdapterIndex::BlobHeader> header,
                   AdapterIndex(context_.db.get(), *db).FindBlob(digest));
  if (!header.has_value()) {
    return absl::NotFoundError(absl::StrCat("no adapter with digest ",
                                            digest.ToString(), " is stored"));
  }
  return std::make_unique<RocksBlobReader>(&context_, digest,
                                           *std::move(header), std::move(pin));
}

absl::StatusOr<std::unique_ptr<Upload>> OpenedStore::BeginUpload(
    UploadSpec spec) {
  RETURN_IF_ERROR(ValidateSpec(spec, context_.options.max_adapter_bytes));
  RETURN_IF_ERROR(context_.EnsureWritable());
  ASSIGN_OR_RETURN(const RocksDb::Use db, context_.db->Acquire());
  if (spec.version.has_value()) {
    AdapterIndex index(context_.db.get(), *db);
    ASSIGN_OR_RETURN(const std::optional<AdapterIndex::Manifest> taken,
                     index.Find({spec.name, *spec.version}));
    ASSIGN_OR_RETURN(const std::optional<AdapterIndex::Grave> grave,
                     index.FindGrave({spec.name, *spec.version}));
    // Other configs are found out at the commit, which knows the digest.
    const std::string sha256 = EncodeDigest(spec.sha256);
    if ((taken.has_value() && taken->safetensors_sha256() != sha256) ||
        (grave.has_value() && grave->safetensors_sha256() != sha256)) {
      return absl::AlreadyExistsError(absl::StrCat(
          "adapter \"", spec.name, "@", *spec.version,
          taken.has_value() ? "\" holds" : "\" was deleted and held",
          " other bytes; a version never changes: leave the version out or "
          "give one that is not taken"));
    }
  }
  const absl::string_view name_space = NamespaceOf(spec.name);
  RETURN_IF_ERROR(context_.namespaces.Admit(name_space, spec.size_bytes,
                                            context_.options.clock()));
  const absl::StatusOr<uint64_t> admitted =
      context_.ledger.Admit(spec.size_bytes, context_.db->FreeDiskBytes());
  if (!admitted.ok()) {
    context_.namespaces.Finish(name_space, spec.size_bytes);
    return admitted.status();
  }
  return std::make_unique<RocksUpload>(&context_, std::move(spec), *admitted,
                                       db.epoch());
}

absl::Status OpenedStore::Delete(const AdapterRef& ref) {
  return bin_.Delete(ref, /*purge=*/false).status();
}

absl::StatusOr<AdapterRecord> OpenedStore::Undelete(const AdapterRef& ref) {
  RETURN_IF_ERROR(CheckVersioned(ref));
  RETURN_IF_ERROR(bin_.Undelete({ref.name, ref.version}));
  return Get(ref);
}

absl::StatusOr<AdapterRecord> OpenedStore::GetDeleted(const AdapterRef& ref) {
  RETURN_IF_ERROR(CheckVersioned(ref));
  ASSIGN_OR_RETURN(const RocksDb::Use db, context_.db->Acquire());
  ASSIGN_OR_RETURN(const std::optional<AdapterIndex::Tombstone> tombstone,
                   AdapterIndex(context_.db.get(), *db)
                       .FindTombstone({ref.name, ref.version}));
  if (!tombstone.has_value()) {
    return absl::NotFoundError(absl::StrCat("adapter \"", ref.ToString(),
                                            "\" is not among the deleted"));
  }
  return RecordOf(*tombstone, context_.options.undelete_window);
}

absl::StatusOr<uint64_t> OpenedStore::PurgeExpired() {
  return bin_.PurgeExpired([this] { return stopping_.load(); });
}

absl::StatusOr<AdapterRecord> OpenedStore::SetAlias(absl::string_view name,
                                                    absl::string_view alias,
                                                    int64_t version) {
  RETURN_IF_ERROR(ValidateName(name));
  RETURN_IF_ERROR(ValidateAlias(alias));
  RETURN_IF_ERROR(ValidateVersion(version));
  RETURN_IF_ERROR(context_.EnsureWritable());
  MutexLock lock(&context_.commit_mu);
  ASSIGN_OR_RETURN(const RocksDb::Use db, context_.db->Acquire());
  AdapterIndex index(context_.db.get(), *db);
  AdapterRef ref;
  ref.name = std::string(name);
  ref.version = version;
  ASSIGN_OR_RETURN(const AdapterIndex::Manifest manifest, index.Locate(ref));
  ASSIGN_OR_RETURN(const std::vector<AdapterIndex::Alias> aliases,
                   index.AliasesOf(name));
  bool moves = false;
  for (const AdapterIndex::Alias& known : aliases) {
    moves = moves || known.alias == alias;
  }
  if (!moves && aliases.size() >= kMaxAliasesPerName) {
    return absl::FailedPreconditionError(
        absl::StrCat("adapter \"", name, "\" has ", aliases.size(),
                     " aliases, the most that a name may have; delete one"));
  }
  RETURN_IF_ERROR(LoadChecked(index, manifest).status());
  storage::v1::AliasTarget target;
  target.set_version(version);
  rocksdb::WriteBatch batch;
  batch.Put(AliasKey(name, alias), target.SerializeAsString());
  RETURN_IF_ERROR(
      context_.db->Write(*db, &batch, /*sync=*/true, "set the alias"));
  return LoadChecked(index, manifest);
}

absl::Status OpenedStore::DeleteAlias(absl::string_view name,
                                      absl::string_view alias) {
  RETURN_IF_ERROR(ValidateName(name));
  RETURN_IF_ERROR(ValidateAlias(alias));
  RETURN_IF_ERROR(context_.EnsureWritable());
  MutexLock lock(&context_.commit_mu);
  ASSIGN_OR_RETURN(const RocksDb::Use db, context_.db->Acquire());
  AdapterRef ref;
  ref.name = std::string(name);
  ref.alias = std::string(alias);
  RETURN_IF_ERROR(AdapterIndex(context_.db.get(), *db).Locate(ref).status());
  rocksdb::WriteBatch batch;
  batch.Delete(AliasKey(name, alias));
  return context_.db->Write(*db, &batch, /*sync=*/true, "delete the alias");
}

absl::StatusOr<AdapterRecord> OpenedStore::Update(const AdapterRef& ref,
                                                  const AdapterUpdate& update) {
  RETURN_IF_ERROR(ValidateUpdate(update));
  RETURN_IF_ERROR(context_.EnsureWritable());
  MutexLock lock(&context_.commit_mu);
  ASSIGN_OR_RETURN(const RocksDb::Use db, context_.db->Acquire());
  AdapterIndex index(context_.db.get(), *db);
  ASSIGN_OR_RETURN(AdapterIndex::Manifest manifest, index.Locate(ref));
  RETURN_IF_ERROR(LoadChecked(index, manifest).status());
  const NameVersion key = {manifest.name(), manifest.version()};
  rocksdb::WriteBatch batch;
  if (update.labels.has_value()) {
    manifest.mutable_labels()->clear();
    manifest.mutable_labels()->insert(update.labels->begin(),
                                      update.labels->end());
  }
  if (update.description.has_value()) {
    manifest.set_description(*update.description);
  }
  batch.Put(ManifestKey(key), manifest.SerializeAsString());
  if (update.card.has_value()) {
    batch.Put(CardKey(key), *update.card);
  }
  RETURN_IF_ERROR(
      context_.db->Write(*db, &batch, /*sync=*/true, "update the adapter"));
  return LoadChecked(index, manifest);
}

StoreStats OpenedStore::Stats() {
  const StoreTotals totals = context_.ledger.totals();
  StoreStats stats;
  stats.num_adapters = static_cast<uint64_t>(totals.num_adapters);
  stats.num_names = static_cast<uint64_t>(totals.num_names);
  stats.num_deleted = static_cast<uint64_t>(totals.num_deleted);
  stats.num_damaged = context_.blobs.num_quarantined();
  stats.num_recipes = static_cast<uint64_t>(totals.num_recipes);
  stats.bytes = static_cast<uint64_t>(totals.bytes);
  stats.free_disk_bytes = context_.db->FreeDiskBytes();
  stats.writable = !context_.db->needs_reopen();
  return stats;
}

absl::StatusOr<uint64_t> OpenedStore::CountChunks() {
  ASSIGN_OR_RETURN(const RocksDb::Use db, context_.db->Acquire());
  uint64_t num_chunks = 0;
  RangeIterator it(*db, kChunkKeys);
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    ++num_chunks;
  }
  RETURN_IF_ERROR(context_.db->Convert(it->status(), "count its chunks"));
  return num_chunks;
}

absl::Status OpenedStore::Flush() {
  ASSIGN_OR_RETURN(const RocksDb::Use db, context_.db->Acquire());
  return context_.db->Convert(db->Flush(rocksdb::FlushOptions()), "flush");
}

}  // namespace

absl::StatusOr<std::unique_ptr<RocksStore>> RocksStore::Open(
    RocksStoreOptions options) {
  if (options.log == nullptr) {
    options.log = [](Severity severity, absl::string_view message) {
      Log(severity, message, {{"component", "registry"}});
    };
  }
  if (options.clock == nullptr) {
    options.clock = absl::Now;
  }
  auto store = std::make_unique<OpenedStore>(std::move(options));
  RETURN_IF_ERROR(store->Init());
  return store;
}

}  // namespace stockpot
