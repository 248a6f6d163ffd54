#include "registry/recipe_index.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
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
#include "registry/adapter_index.h"
#include "registry/adapter_ref.h"
#include "registry/adapter_store.h"
#include "registry/key_codec.h"
#include "registry/list_page.h"
#include "registry/recipe_store.h"
#include "registry/rocks_db.h"

namespace stockpot {
namespace {

constexpr absl::string_view kReading = "read its recipes";

absl::Status DamagedError() {
  return absl::DataLossError(
      "the registry could not read a saved recipe: it is damaged; delete it "
      "and save it again");
}

absl::StatusOr<RecipeIndex::Manifest> Parse(absl::string_view bytes) {
  RecipeIndex::Manifest manifest;
  if (!manifest.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return DamagedError();
  }
  return manifest;
}

RecipeRecord RecordOf(RecipeIndex::Manifest manifest) {
  RecipeRecord record;
  record.name = std::move(*manifest.mutable_name());
  record.version = manifest.version();
  record.recipe = std::move(*manifest.mutable_recipe());
  record.resolved = std::move(*manifest.mutable_resolved());
  record.labels.insert(manifest.labels().begin(), manifest.labels().end());
  record.description = std::move(*manifest.mutable_description());
  record.create_time = absl::FromUnixMicros(manifest.create_time_us());
  return record;
}

}  // namespace

absl::Status RecipeIndex::Check(const RangeIterator& it) {
  return owner_->Convert(it->status(), kReading);
}

absl::StatusOr<bool> RecipeIndex::Get(absl::string_view key,
                                      std::string* value) {
  const rocksdb::Status status =
      db_.Get(rocksdb::ReadOptions(), ToSlice(key), value);
  if (status.IsNotFound()) {
    return false;
  }
  RETURN_IF_ERROR(owner_->Convert(status, kReading));
  return true;
}

absl::StatusOr<std::optional<RecipeIndex::Manifest>> RecipeIndex::Find(
    const NameVersion& version) {
  std::string value;
  ASSIGN_OR_RETURN(const bool found, Get(RecipeKey(version), &value));
  if (!found) {
    return std::nullopt;
  }
  return Parse(value);
}

absl::StatusOr<std::optional<RecipeIndex::Manifest>> RecipeIndex::FindNewest(
    absl::string_view name) {
  ASSIGN_OR_RETURN(const int64_t version,
                   NewestVersion(owner_, db_, kRecipeKeys, name));
  if (version == 0) {
    return std::nullopt;
  }
  return Find({std::string(name), version});
}

absl::StatusOr<std::optional<Digest>> RecipeIndex::FindGrave(
    const NameVersion& version) {
  std::string value;
  ASSIGN_OR_RETURN(const bool found, Get(RecipeGraveKey(version), &value));
  if (!found) {
    return std::nullopt;
  }
  storage::v1::RecipeGrave grave;
  std::optional<Digest> digest;
  if (grave.ParseFromString(value)) {
    digest = ParseDigest(grave.recipe_sha256());
  }
  if (!digest.has_value()) {
    return DamagedError();
  }
  return digest;
}

absl::StatusOr<int64_t> RecipeIndex::HighestVersion(absl::string_view name) {
  ASSIGN_OR_RETURN(const int64_t stored,
                   NewestVersion(owner_, db_, kRecipeKeys, name));
  ASSIGN_OR_RETURN(const int64_t deleted,
                   NewestVersion(owner_, db_, kRecipeGraveKeys, name));
  return std::max(stored, deleted);
}

absl::StatusOr<std::vector<int64_t>> RecipeIndex::Versions(
    absl::string_view name, size_t limit) {
  std::vector<int64_t> versions;
  const std::string prefix = NamePrefix(kRecipeKeys, name);
  RangeIterator it(db_, kRecipeKeys);
  for (it->Seek(prefix); it->Valid() && absl::StartsWith(it.key(), prefix) &&
                         versions.size() < limit;
       it->Next()) {
    if (const auto key = ParseVersionedKey(kRecipeKeys, it.key())) {
      versions.push_back(key->version);
    }
  }
  RETURN_IF_ERROR(Check(it));
  return versions;
}

absl::StatusOr<std::vector<RecipeIndex::Alias>> RecipeIndex::AliasesOf(
    absl::string_view name) {
  std::vector<Alias> aliases;
  const std::string prefix = RecipeAliasPrefix(name);
  RangeIterator it(db_, kRecipeAliasKeys);
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

absl::StatusOr<std::optional<NameVersion>> RecipeIndex::UserOf(
    const Digest& digest) {
  const std::string prefix = UsePrefix(digest);
  RangeIterator it(db_, kUseKeys);
  it->Seek(prefix);
  RETURN_IF_ERROR(Check(it));
  if (!it->Valid() || !absl::StartsWith(it.key(), prefix)) {
    return std::nullopt;
  }
  return ParseReferenceKey(it.key());
}

absl::Status RecipeIndex::NotFound(const AdapterRef& ref) {
  constexpr size_t kShown = 8;
  ASSIGN_OR_RETURN(const std::vector<int64_t> versions,
                   Versions(ref.name, kShown));
  if (versions.empty()) {
    return absl::NotFoundError(absl::StrCat(
        "recipe \"", ref.ToString(), "\" is not saved: no recipe is named \"",
        ref.name, "\"; save it, or list recipes to see their names"));
  }
  ASSIGN_OR_RETURN(std::vector<Alias> aliases, AliasesOf(ref.name));
  aliases.resize(std::min(aliases.size(), kShown));
  return absl::NotFoundError(absl::StrCat(
      "recipe \"", ref.ToString(), "\" is not saved; \"", ref.name,
      "\" has versions ", absl::StrJoin(versions, ", "),
      aliases.empty() ? " and no aliases" : " and aliases ",
      absl::StrJoin(aliases, ", ", [](std::string* out, const Alias& alias) {
        absl::StrAppend(out, alias.alias, " (version ", alias.version, ")");
      })));
}

absl::StatusOr<RecipeIndex::Manifest> RecipeIndex::Locate(
    const AdapterRef& ref) {
  if (ref.digest.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", ref.ToString(), "\" is a digest; a saved recipe is called ",
        "\"name\", \"name@version\" or \"name@alias\""));
  }
  std::optional<Manifest> manifest;
  if (!ref.alias.empty()) {
    std::string value;
    storage::v1::AliasTarget target;
    ASSIGN_OR_RETURN(const bool found,
                     Get(RecipeAliasKey(ref.name, ref.alias), &value));
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

absl::StatusOr<RecipeRecord> RecipeIndex::Load(const Manifest& manifest) {
  RecipeRecord record = RecordOf(manifest);
  ASSIGN_OR_RETURN(const std::vector<Alias> aliases, AliasesOf(record.name));
  for (const Alias& alias : aliases) {
    if (alias.version == record.version) {
      record.aliases.push_back(alias.alias);
    }
  }
  return record;
}

absl::StatusOr<RecipePage> RecipeIndex::List(const RecipeListOptions& options) {
  RETURN_IF_ERROR(
      ValidateListing(options.page_size, options.name_prefix, options.labels));
  const size_t page_size =
      options.page_size == 0 ? kDefaultPageSize : options.page_size;
  const std::string prefix =
      absl::StrCat(kRecipeKeys.begin, options.name_prefix);
  RangeIterator it(db_, kRecipeKeys);
  if (options.page_token.empty()) {
    it->Seek(prefix);
  } else {
    ASSIGN_OR_RETURN(const NameVersion last,
                     ParsePageToken(options.page_token, options.name_prefix));
    // One NUL more than the key is its successor.
    it->Seek(options.all_versions
                 ? absl::StrCat(RecipeKey(last), absl::string_view("\0", 1))
                 : AfterName(kRecipeKeys, last.name));
  }
  RecipePage page;
  NameVersion last;
  size_t looked_at = 0;
  size_t bytes = 0;
  for (; it->Valid() && absl::StartsWith(it.key(), prefix); it->Next()) {
    if (page.records.size() == page_size || looked_at == kMaxLookedAt ||
        bytes >= kMaxPageBytes) {
      page.next_page_token = EncodePageToken(last);
      break;
    }
    std::optional<NameVersion> key = ParseVersionedKey(kRecipeKeys, it.key());
    if (key.has_value() && !options.all_versions) {
      it->SeekForPrev(AfterName(kRecipeKeys, key->name));
      RETURN_IF_ERROR(Check(it));
      key =
          it->Valid() ? ParseVersionedKey(kRecipeKeys, it.key()) : std::nullopt;
    }
    if (!key.has_value()) {
      return DamagedError();
    }
    ++looked_at;
    last = *std::move(key);
    ASSIGN_OR_RETURN(const Manifest manifest, Parse(it.value()));
    if (HasLabels(manifest.labels(), options.labels)) {
      bytes += it.value().size();
      ASSIGN_OR_RETURN(RecipeRecord record, Load(manifest));
      page.records.push_back(std::move(record));
    }
  }
  RETURN_IF_ERROR(Check(it));
  return page;
}

}  // namespace stockpot
