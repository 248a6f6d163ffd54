#include "registry/index_seal.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
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

bool IsIn(absl::Span<const KeyRange> ranges, absl::string_view key) {
  return std::any_of(ranges.begin(), ranges.end(), [&](const KeyRange& range) {
    return key >= range.begin && key < range.end;
  });
}

// The sum of `seal` that `key` counts in; null if it is not sealed.
SealedSum* SumOf(absl::string_view key, IndexSeal* seal) {
  if (IsIn(kSealedNames, key)) {
    return &seal->names;
  }
  return IsIn(kSealedRest, key) ? &seal->rest : nullptr;
}

// Puts an entry in, or takes it out again.
void Toggle(absl::string_view key, absl::string_view value, SealedSum* sum) {
  Sha256 hash;
  hash.UpdateFramed(key);
  hash.UpdateFramed(value);
  const Digest entry = hash.Finish();
  for (size_t i = 0; i < entry.bytes.size(); ++i) {
    sum->entries.bytes[i] ^= entry.bytes[i];
  }
}

absl::Status AddRange(rocksdb::DB& db, const KeyRange& range, SealedSum* sum) {
  RangeIterator it(db, range);
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    Toggle(it.key(), it.value(), sum);
    ++sum->num_entries;
  }
  return FromRocks(it->status(), kSealing);
}

// What a seal over kSealedNames and all keys that begin with one of `prefixes`
// must say. Errors: DataLoss, Unavailable.
absl::StatusOr<IndexSeal> ComputeSealOf(
    rocksdb::DB& db, const std::vector<std::string>& prefixes) {
  IndexSeal seal;
  for (const KeyRange& range : kSealedNames) {
    RETURN_IF_ERROR(AddRange(db, range, &seal.names));
  }
  for (const std::string& prefix : prefixes) {
    std::string end = prefix;
    ++end.back();
    RETURN_IF_ERROR(AddRange(db, {prefix, end}, &seal.rest));
  }
  seal.rest_prefixes = prefixes;
  return seal;
}

const std::vector<std::string>& CurrentPrefixes() {
  static const auto* const prefixes = [] {
    auto* const all = new std::vector<std::string>();
    for (const KeyRange& range : kSealedRest) {
      all->emplace_back(range.begin);
    }
    return all;
  }();
  return *prefixes;
}

storage::v1::IndexSeal ToMessage(const IndexSeal& seal) {
  storage::v1::IndexSeal message;
  message.set_num_commits(seal.num_commits);
  message.set_num_entries(seal.names.num_entries);
  message.set_entries_xor_sha256(EncodeDigest(seal.names.entries));
  storage::v1::SealedKinds& more = *message.mutable_more();
  for (const std::string& prefix : seal.rest_prefixes) {
    more.add_prefixes(prefix);
  }
  more.set_num_entries(seal.rest.num_entries);
  more.set_entries_xor_sha256(EncodeDigest(seal.rest.entries));
  return message;
}

absl::StatusOr<IndexSeal> FromMessage(const storage::v1::IndexSeal& message) {
  IndexSeal seal;
  seal.num_commits = message.num_commits();
  seal.names.num_entries = message.num_entries();
  std::optional<Digest> names = ParseDigest(message.entries_xor_sha256());
  std::optional<Digest> rest = Digest{};
  if (message.has_more()) {
    seal.rest.num_entries = message.more().num_entries();
    rest = ParseDigest(message.more().entries_xor_sha256());
  }
  bool whole = names.has_value() && rest.has_value();
  for (const std::string& prefix : message.more().prefixes()) {
    whole = whole && absl::EndsWith(prefix, "/");
    seal.rest_prefixes.push_back(prefix);
  }
  if (!whole) {
    return absl::DataLossError("the seal of the registry's index is damaged");
  }
  seal.names.entries = *names;
  seal.rest.entries = *rest;
  return seal;
}

// Errors: DataLoss, unless `held` is what was `sealed`.
absl::Status CheckSum(const SealedSum& held, const SealedSum& sealed,
                      absl::string_view what) {
  if (held == sealed) {
    return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrCat(
      "the registry's index is not the one that was written: it holds ",
      held.num_entries, " ", what, " where ", sealed.num_entries,
      " were written, or others; a log or table file is missing"));
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
    if (IsIn(kSealedNames, key) || IsIn(kSealedRest, key)) {
      values[key] = std::move(value);
    }
    return rocksdb::Status::OK();
  }
};

}  // namespace

bool IndexSeal::IsCurrent() const { return rest_prefixes == CurrentPrefixes(); }

absl::StatusOr<IndexSeal> SealBatch(rocksdb::DB& db, const IndexSeal& now,
                                    rocksdb::WriteBatch* batch) {
  SealedChanges changes;
  RETURN_IF_ERROR(FromRocks(batch->Iterate(&changes), kSealing));
  IndexSeal seal = now;
  ++seal.num_commits;
  for (const auto& [key, value] : changes.values) {
    SealedSum* const sum = SumOf(key, &seal);
    std::string old;
    const rocksdb::Status status = db.Get(rocksdb::ReadOptions(), key, &old);
    if (status.ok()) {
      Toggle(key, old, sum);
      --sum->num_entries;
    } else if (!status.IsNotFound()) {
      return FromRocks(status, kSealing);
    }
    if (value.has_value()) {
      Toggle(key, *value, sum);
      ++sum->num_entries;
    }
  }
  batch->Put(ToSlice(kSealKey), ToMessage(seal).SerializeAsString());
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
  if (!message.ParseFromString(value)) {
    return absl::DataLossError("the seal of the registry's index is damaged");
  }
  return FromMessage(message);
}

absl::StatusOr<IndexSeal> ComputeSeal(rocksdb::DB& db) {
  return ComputeSealOf(db, CurrentPrefixes());
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
  ASSIGN_OR_RETURN(const IndexSeal held,
                   ComputeSealOf(db, seal->rest_prefixes));
  RETURN_IF_ERROR(CheckSum(held.names, seal->names, "names and aliases"));
  return CheckSum(held.rest, seal->rest,
                  "saved recipes, their aliases and records of deletes");
}

}  // namespace stockpot
