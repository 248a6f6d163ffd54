#include "registry/index_seal.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "rocksdb/db.h"
#include "rocksdb/options.h"
#include "rocksdb/status.h"
#include "rocksdb/write_batch.h"

#include "proto/stockpot/v1/storage.pb.h"

#include "base/digest.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "registry/adapter_index.h"
#include "registry/key_codec.h"
#include "registry/rocks_status.h"

namespace stockpot {
namespace {

constexpr absl::string_view kSealing = "check what it holds";

bool IsSealed(absl::string_view key) {
  for (const KeyRange& range : kSealedKeys) {
    if (key >= range.begin && key < range.end) {
      return true;
    }
  }
  return false;
}

// Puts an entry in, or takes it out again.
void Toggle(absl::string_view key, absl::string_view value, IndexSeal* seal) {
  Sha256 hash;
  hash.UpdateFramed(key);
  hash.UpdateFramed(value);
  const Digest entry = hash.Finish();
  for (size_t i = 0; i < entry.bytes.size(); ++i) {
    seal->entries.bytes[i] ^= entry.bytes[i];
  }
}

// Collects what a batch leaves at each sealed key; nullopt: nothing.
class SealedChanges : public rocksdb::WriteBatch::Handler {
 public:
  rocksdb::Status PutCF(uint32_t /*column_family*/, const rocksdb::Slice& key,
                        const rocksdb::Slice& value) override {
    return Set(ToView(key), value.ToString());
  }
  rocksdb::Status DeleteCF(uint32_t /*column_family*/,
                           const rocksdb::Slice& key) override {
    return Set(ToView(key), std::nullopt);
  }

  absl::flat_hash_map<std::string, std::optional<std::string>> values;

 private:
  rocksdb::Status Set(absl::string_view key, std::optional<std::string> value) {
    if (IsSealed(key)) {
      values[key] = std::move(value);
    }
    return rocksdb::Status::OK();
  }
};

}  // namespace

absl::StatusOr<IndexSeal> SealBatch(rocksdb::DB& db, const IndexSeal& now,
                                    rocksdb::WriteBatch* batch) {
  SealedChanges changes;
  RETURN_IF_ERROR(FromRocks(batch->Iterate(&changes), kSealing));
  IndexSeal seal = now;
  ++seal.num_commits;
  for (const auto& [key, value] : changes.values) {
    std::string old;
    const rocksdb::Status status = db.Get(rocksdb::ReadOptions(), key, &old);
    if (status.ok()) {
      Toggle(key, old, &seal);
      --seal.num_entries;
    } else if (!status.IsNotFound()) {
      return FromRocks(status, kSealing);
    }
    if (value.has_value()) {
      Toggle(key, *value, &seal);
      ++seal.num_entries;
    }
  }
  storage::v1::IndexSeal message;
  message.set_num_commits(seal.num_commits);
  message.set_num_entries(seal.num_entries);
  message.set_entries_xor_sha256(EncodeDigest(seal.entries));
  batch->Put(ToSlice(kSealKey), message.SerializeAsString());
  return seal;
}

absl::StatusOr<std::optional<IndexSeal>> ReadSeal(rocksdb::DB& db) {
  std::string value;
  const rocksdb::Status status =
      db.Get(rocksdb::ReadOptions(), ToSlice(kSealKey), &value);
  if (status.IsNotFound()) {
    return std::nullopt;
  }
  RETURN_IF_ERROR(FromRocks(status, kSealing));
  storage::v1::IndexSeal message;
  const bool parsed = message.ParseFromString(value);
  const std::optional<Digest> entries =
      ParseDigest(message.entries_xor_sha256());
  if (!parsed || !entries.has_value()) {
    return absl::DataLossError("the seal of the registry's index is damaged");
  }
  return IndexSeal{message.num_commits(), message.num_entries(), *entries};
}

absl::StatusOr<IndexSeal> ComputeSeal(rocksdb::DB& db) {
  IndexSeal seal;
  for (const KeyRange& range : kSealedKeys) {
    RangeIterator it(db, range);
    for (it->SeekToFirst(); it->Valid(); it->Next()) {
      Toggle(it.key(), it.value(), &seal);
      ++seal.num_entries;
    }
    RETURN_IF_ERROR(FromRocks(it->status(), kSealing));
  }
  return seal;
}

absl::Status CheckSeal(rocksdb::DB& db, uint64_t num_commits) {
  ASSIGN_OR_RETURN(const std::optional<IndexSeal> seal, ReadSeal(db));
  const uint64_t found = seal.has_value() ? seal->num_commits : 0;
  if (found < num_commits) {
    return absl::DataLossError(
        absl::StrCat("the registry lost acknowledged changes: ", num_commits,
                     " were made and it holds the first ", found,
                     "; a log file or the MANIFEST is missing or cut short"));
  }
  if (!seal.has_value()) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(IndexSeal held, ComputeSeal(db));
  held.num_commits = seal->num_commits;
  if (held != *seal) {
    return absl::DataLossError(absl::StrCat(
        "the registry's index is not the one that was written: it holds ",
        held.num_entries, " names and aliases where ", seal->num_entries,
        " were written, or others; a log or table file is missing"));
  }
  return absl::OkStatus();
}

}  // namespace stockpot
