#include "registry/adapter_index.h"

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
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "rocksdb/db.h"
#include "rocksdb/options.h"
#include "rocksdb/status.h"

#include "base/digest.h"
#include "base/status_macros.h"
#include "registry/adapter_filter.h"
#include "registry/adapter_ref.h"
#include "registry/adapter_store.h"
#include "registry/key_codec.h"
#include "registry/list_page.h"
#include "registry/record_codec.h"
#include "registry/rocks_db.h"

namespace stockpot {
namespace {

constexpr absl::string_view kReading = "read its index";

rocksdb::ReadOptions Bounded(const rocksdb::Slice* lower,
                             const rocksdb::Slice* upper) {
  rocksdb::ReadOptions options;
  options.iterate_lower_bound = lower;
  options.iterate_upper_bound = upper;
  return options;
}

}  // namespace

RangeIterator::RangeIterator(rocksdb::DB& db, const KeyRange& range)
    : lower_(ToSlice(range.begin)),
      upper_(ToSlice(range.end)),
      iterator_(db.NewIterator(Bounded(&lower_, &upper_))) {}

absl::StatusOr<int64_t> NewestVersion(RocksDb* owner, rocksdb::DB& db,
                                      const KeyRange& kind,
                                      absl::string_view name) {
  RangeIterator it(db, kind);
  it->SeekForPrev(AfterName(kind, name));
  RETURN_IF_ERROR(owner->Convert(it->status(), kReading));
  if (!it->Valid()) {
    return 0;
  }
  const std::optional<NameVersion> key = ParseVersionedKey(kind, it.key());
  return key.has_value() && key->name == name ? key->version : 0;
}

absl::Status AdapterIndex::Check(const RangeIterator& it) {
  return owner_->Convert(it->status(), kReading);
}

absl::StatusOr<bool> AdapterIndex::Get(absl::string_view key,
                                       std::string* value) {
  const rocksdb::Status status =
      db_.Get(rocksdb::ReadOptions(), ToSlice(key), value);
  if (status.IsNotFound()) {
    return false;
  }
  RETURN_IF_ERROR(owner_->Convert(status, kReading));
  return true;
}

absl::StatusOr<std::optional<AdapterIndex::Manifest>> AdapterIndex::Find(
    const NameVersion& version) {
  std::string value;
  ASSIGN_OR_RETURN(const bool found, Get(ManifestKey(version), &value));
  if (!found) {
    return std::nullopt;
  }
  return ParseManifest(value);
}

absl::StatusOr<std::optional<AdapterIndex::Manifest>> AdapterIndex::FindNewest(
    absl::string_view name) {
  RangeIterator it(db_, kManifestKeys);
  it->SeekForPrev(AfterManifests(name));
  RETURN_IF_ERROR(Check(it));
  if (!it->Valid() || !absl::StartsWith(it.key(), ManifestPrefix(name))) {
    return std::nullopt;
  }
  return ParseManifest(it.value());
}

absl::StatusOr<std::optional<AdapterIndex::BlobHeader>> AdapterIndex::FindBlob(
    const Digest& digest) {
  std::string value;
  ASSIGN_OR_RETURN(const bool found, Get(BlobKey(digest), &value));
  if (!found) {
    return std::nullopt;
  }
  return ParseBlobHeader(value);
}

absl::StatusOr<std::optional<AdapterIndex::Tombstone>>
AdapterIndex::FindTombstone(const NameVersion& version) {
  std::string value;
  ASSIGN_OR_RETURN(const bool found, Get(TombstoneKey(version), &value));
  if (!found) {
    return std::nullopt;
  }
  return ParseTombstone(value);
}

absl::StatusOr<std::optional<AdapterIndex::Grave>> AdapterIndex::FindGrave(
    const NameVersion& version) {
  std::string value;
  ASSIGN_OR_RETURN(const bool found, Get(GraveKey(version), &value));
  Grave grave;
  if (!found) {
    return std::nullopt;
  }
  if (!grave.ParseFromString(value)) {
    return absl::DataLossError("the registry's index is damaged");
  }
  return grave;
}

absl::StatusOr<std::vector<NameVersion>> AdapterIndex::FindDeletedBefore(
    absl::Time limit, const std::optional<NameVersion>& last,
    size_t max_found) {
  std::vector<NameVersion> found;
  RangeIterator it(db_, kTombstoneKeys);
  if (last.has_value()) {
    it->Seek(absl::StrCat(TombstoneKey(*last), absl::string_view("\0", 1)));
  } else {
    it->SeekToFirst();
  }
  for (; it->Valid() && found.size() < max_found; it->Next()) {
    ASSIGN_OR_RETURN(const Tombstone tombstone, ParseTombstone(it.value()));
    std::optional<NameVersion> key =
        ParseVersionedKey(kTombstoneKeys, it.key());
    if (key.has_value() &&
        absl::FromUnixMicros(tombstone.delete_time_us()) <= limit) {
      found.push_back(*std::move(key));
    }
  }
  RETURN_IF_ERROR(Check(it));
  return found;
}

absl::StatusOr<bool> AdapterIndex::IsHeld(const Digest& digest) {
  const std::string prefix = HoldPrefix(digest);
  RangeIterator it(db_, kHoldKeys);
  it->Seek(prefix);
  RETURN_IF_ERROR(Check(it));
  return it->Valid() && absl::StartsWith(it.key(), prefix);
}

absl::StatusOr<int64_t> AdapterIndex::HighestVersion(absl::string_view name) {
  int64_t highest = 0;
  for (const KeyRange& kind : {kManifestKeys, kTombstoneKeys, kGraveKeys}) {
    ASSIGN_OR_RETURN(const int64_t newest,
                     NewestVersion(owner_, db_, kind, name));
    highest = std::max(highest, newest);
  }
  return highest;
}

absl::StatusOr<std::vector<int64_t>> AdapterIndex::Versions(
    absl::string_view name, size_t limit) {
  std::vector<int64_t> versions;
  const std::string prefix = ManifestPrefix(name);
  RangeIterator it(db_, kManifestKeys);
  for (it->Seek(prefix); it->Valid() && absl::StartsWith(it.key(), prefix) &&
                         versions.size() < limit;
       it->Next()) {
    if (std::optional<NameVersion> key = ParseManifestKey(it.key())) {
      versions.push_back(key->version);
    }
  }
  RETURN_IF_ERROR(Check(it));
  return versions;
}

absl::StatusOr<std::vector<NameVersion>> AdapterIndex::NamesOf(
    const Digest& digest, size_t limit) {
  std::vector<NameVersion> names;
  const std::string prefix = ReferencePrefix(digest);
  RangeIterator it(db_, kReferenceKeys);
  for (it->Seek(prefix); it->Valid() && absl::StartsWith(it.key(), prefix) &&
                         names.size() < limit;
       it->Next()) {
    if (std::optional<NameVersion> key = ParseReferenceKey(it.key())) {
      names.push_back(*std::move(key));
    }
  }
  RETURN_IF_ERROR(Check(it));
  return names;
}

absl::StatusOr<std::vector<AdapterIndex::Alias>> AdapterIndex::AliasesOf(
    absl::string_view name) {
  std::vector<Alias> aliases;
  const std::string prefix = AliasPrefix(name);
  RangeIterator it(db_, kAliasKeys);
  for (it->Seek(prefix); it->Valid() && absl::StartsWith(it.key(), prefix);
       it->Next()) {
    storage::v1::AliasTarget target;
    std::optional<std::string> alias = ParseAliasKey(it.key());
    if (alias.has_value() &&
        target.ParseFromArray(it.value().data(),
                              static_cast<int>(it.value().size()))) {
      aliases.push_back({*std::move(alias), target.version()});
    }
  }
  RETURN_IF_ERROR(Check(it));
  return aliases;
}

absl::Status AdapterIndex::NotFound(const AdapterRef& ref) {
  constexpr size_t kShown = 8;
  if (ref.digest.has_value()) {
    return absl::NotFoundError(
        absl::StrCat("no adapter with digest ", ref.ToString(), " is stored"));
  }
  if (ref.version != 0) {
    ASSIGN_OR_RETURN(const std::optional<Tombstone> tombstone,
                     FindTombstone({ref.name, ref.version}));
    if (tombstone.has_value()) {
      return absl::NotFoundError(absl::StrCat(
          "adapter \"", ref.ToString(), "\" was deleted on ",
          absl::FormatTime("%Y-%m-%d",
                           absl::FromUnixMicros(tombstone->delete_time_us()),
                           absl::UTCTimeZone()),
          "; undelete it to use it again"));
    }
  }
  ASSIGN_OR_RETURN(std::vector<int64_t> versions,
                   Versions(ref.name, kShown + 1));
  if (versions.empty()) {
    return absl::NotFoundError(
        absl::StrCat("adapter \"", ref.ToString(),
                     "\" is not stored: no adapter is named \"", ref.name,
                     "\"; register it, or list adapters to see their names"));
  }
  ASSIGN_OR_RETURN(std::vector<Alias> aliases, AliasesOf(ref.name));
  const bool more_aliases = aliases.size() > kShown;
  aliases.resize(std::min(aliases.size(), kShown));
  const bool more_versions = versions.size() > kShown;
  versions.resize(std::min(versions.size(), kShown));
  return absl::NotFoundError(absl::StrCat(
      "adapter \"", ref.ToString(), "\" is not stored; \"", ref.name,
      "\" has versions ", absl::StrJoin(versions, ", "),
      more_versions ? ", ..." : "",
      aliases.empty() ? " and no aliases" : " and aliases ",
      absl::StrJoin(aliases, ", ",
                    [](std::string* out, const Alias& alias) {
                      absl::StrAppend(out, alias.alias, " (version ",
                                      alias.version, ")");
                    }),
      more_aliases ? ", ..." : ""));
}

absl::StatusOr<AdapterIndex::Manifest> AdapterIndex::Locate(
    const AdapterRef& ref) {
  std::optional<Manifest> manifest;
  if (ref.digest.has_value()) {
    ASSIGN_OR_RETURN(const std::vector<NameVersion> names,
                     NamesOf(*ref.digest, 1));
    if (!names.empty()) {
      ASSIGN_OR_RETURN(manifest, Find(names.front()));
    }
  } else if (!ref.alias.empty()) {
    std::string value;
    storage::v1::AliasTarget target;
    ASSIGN_OR_RETURN(const bool found,
                     Get(AliasKey(ref.name, ref.alias), &value));
    if (found && target.ParseFromString(value)) {
      ASSIGN_OR_RETURN(manifest, Find({ref.name, target.version()}));
    }
  } else if (ref.version != 0) {
    ASSIGN_OR_RETURN(manifest, Find({ref.name, ref.version}));
  } else {
    ASSIGN_OR_RETURN(manifest, FindNewest(ref.name));
  }
  if (!manifest.has_value()) {
    return NotFound(ref);
  }
  return *std::move(manifest);
}

absl::StatusOr<AdapterRecord> AdapterIndex::Load(const Manifest& manifest) {
  ASSIGN_OR_RETURN(AdapterRecord record, RecordOf(manifest));
  ASSIGN_OR_RETURN(std::optional<BlobHeader> header, FindBlob(record.digest));
  if (!header.has_value()) {
    return absl::DataLossError(
        "the registry could not read an adapter: its header is missing; "
        "upload the adapter again");
  }
  record.adapter_config = std::move(*header->mutable_adapter_config());
  // No card is the empty card.
  RETURN_IF_ERROR(
      Get(CardKey({record.name, record.version}), &record.card).status());
  ASSIGN_OR_RETURN(const std::vector<Alias> aliases, AliasesOf(record.name));
  for (const Alias& alias : aliases) {
    if (alias.version == record.version) {
      record.aliases.push_back(alias.alias);
    }
  }
  return record;
}

absl::StatusOr<AdapterRecord> AdapterIndex::Summarise(const Manifest& manifest,
                                                      AliasCache* cache) {
  ASSIGN_OR_RETURN(AdapterRecord record, RecordOf(manifest));
  if (cache->name != record.name) {
    ASSIGN_OR_RETURN(cache->aliases, AliasesOf(record.name));
    cache->name = record.name;
  }
  for (const Alias& alias : cache->aliases) {
    if (alias.version == record.version) {
      record.aliases.push_back(alias.alias);
    }
  }
  return record;
}

absl::StatusOr<bool> AdapterIndex::Matches(const Manifest& manifest,
                                           const ListOptions& options,
                                           size_t* card_bytes) {
  const std::string& text = options.filter.text;
  if (!HasLabels(manifest.labels(), options.labels) ||
      !MatchesFilter(options.filter, manifest)) {
    return false;
  }
  if (HoldsText(manifest.name(), text) ||
      HoldsText(manifest.description(), text)) {
    return true;
  }
  std::string card;
  RETURN_IF_ERROR(
      Get(CardKey({manifest.name(), manifest.version()}), &card).status());
  *card_bytes += card.size();
  return HoldsText(card, text);
}

absl::StatusOr<AdapterPage> AdapterIndex::List(
    const ListOptions& options,
    const std::function<bool(const Digest&)>& is_damaged) {
  RETURN_IF_ERROR(
      ValidateListing(options.page_size, options.name_prefix, options.labels));
  RETURN_IF_ERROR(ValidateFilter(options.filter));
  const size_t page_size =
      options.page_size == 0 ? kDefaultPageSize : options.page_size;
  const std::string prefix =
      absl::StrCat(kManifestKeys.begin, options.name_prefix);
  RangeIterator it(db_, kManifestKeys);
  if (options.page_token.empty()) {
    it->Seek(prefix);
  } else {
    ASSIGN_OR_RETURN(const NameVersion last,
                     ParsePageToken(options.page_token, options.name_prefix));
    // One NUL more than the key is its successor.
    it->Seek(options.all_versions
                 ? absl::StrCat(ManifestKey(last), absl::string_view("\0", 1))
                 : AfterManifests(last.name));
  }

  AdapterPage page;
  AliasCache cache;
  NameVersion last;
  size_t looked_at = 0;
  size_t bytes = 0;
  size_t card_bytes = 0;
  for (; it->Valid() && absl::StartsWith(it.key(), prefix); it->Next()) {
    if (page.records.size() == page_size || looked_at == kMaxLookedAt ||
        bytes >= kMaxPageBytes || card_bytes >= kMaxCardsRead) {
      page.next_page_token = EncodePageToken(last);
      break;
    }
    std::optional<NameVersion> key = ParseManifestKey(it.key());
    if (key.has_value() && !options.all_versions) {
      it->SeekForPrev(AfterManifests(key->name));
      RETURN_IF_ERROR(Check(it));
      key = it->Valid() ? ParseManifestKey(it.key()) : std::nullopt;
    }
    if (!key.has_value()) {
      return absl::DataLossError("the registry's index is damaged");
    }
    ++looked_at;
    last = *std::move(key);
    ASSIGN_OR_RETURN(const Manifest manifest, ParseManifest(it.value()));
    ASSIGN_OR_RETURN(const bool matches,
                     Matches(manifest, options, &card_bytes));
    if (matches) {
      bytes += it.value().size();
      ASSIGN_OR_RETURN(AdapterRecord record, Summarise(manifest, &cache));
      record.damaged = is_damaged(record.digest);
      page.records.push_back(std::move(record));
    }
  }
  RETURN_IF_ERROR(Check(it));
  return page;
}

absl::StatusOr<AdapterPage> AdapterIndex::ListDeleted(
    const ListOptions& options, absl::Duration window,
    const std::function<bool(const Digest&)>& is_damaged) {
  RETURN_IF_ERROR(
      ValidateListing(options.page_size, options.name_prefix, options.labels));
  RETURN_IF_ERROR(ValidateFilter(options.filter));
  const size_t page_size =
      options.page_size == 0 ? kDefaultPageSize : options.page_size;
  const std::string prefix =
      absl::StrCat(kTombstoneKeys.begin, options.name_prefix);
  std::string start = prefix;
  if (!options.page_token.empty()) {
    ASSIGN_OR_RETURN(const NameVersion last,
                     ParsePageToken(options.page_token, options.name_prefix));
    start = absl::StrCat(TombstoneKey(last), absl::string_view("\0", 1));
  }
  RangeIterator it(db_, kTombstoneKeys);
  AdapterPage page;
  NameVersion last;
  size_t looked_at = 0;
  size_t bytes = 0;
  size_t card_bytes = 0;
  for (it->Seek(start); it->Valid() && absl::StartsWith(it.key(), prefix);
       it->Next()) {
    if (page.records.size() == page_size || looked_at == kMaxLookedAt ||
        bytes >= kMaxPageBytes || card_bytes >= kMaxCardsRead) {
      page.next_page_token = EncodePageToken(last);
      break;
    }
    ++looked_at;
    ASSIGN_OR_RETURN(const Tombstone tombstone, ParseTombstone(it.value()));
    last = {tombstone.manifest().name(), tombstone.manifest().version()};
    ASSIGN_OR_RETURN(const bool matches,
                     Matches(tombstone.manifest(), options, &card_bytes));
    if (matches) {
      bytes += it.value().size();
      ASSIGN_OR_RETURN(AdapterRecord record, RecordOf(tombstone, window));
      record.damaged = is_damaged(record.digest);
      page.records.push_back(std::move(record));
    }
  }
  RETURN_IF_ERROR(Check(it));
  return page;
}

}  // namespace stockpot
