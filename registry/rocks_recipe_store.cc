#include "registry/rocks_recipe_store.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "rocksdb/db.h"
#include "rocksdb/write_batch.h"

#include "proto/stockpot/v1/storage.pb.h"

#include "base/digest.h"
#include "base/mutex.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "registry/adapter_index.h"
#include "registry/adapter_ref.h"
#include "registry/adapter_store.h"
#include "registry/key_codec.h"
#include "registry/recipe_index.h"
#include "registry/recipe_store.h"
#include "registry/rocks_db.h"
#include "registry/store_context.h"

namespace stockpot {
namespace {

absl::Status ValidateSpec(const RecipeSpec& spec) {
  RETURN_IF_ERROR(ValidateName(spec.name));
  if (spec.version.has_value()) {
    RETURN_IF_ERROR(ValidateVersion(*spec.version));
  }
  RETURN_IF_ERROR(ValidateLabels(spec.labels));
  RETURN_IF_ERROR(
      ValidateText("description", spec.description, kMaxDescriptionBytes));
  if (spec.recipe.size() > kMaxRecipeBytes ||
      spec.resolved.size() > kMaxRecipeBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the recipe takes ", std::max(spec.recipe.size(), spec.resolved.size()),
        " bytes; a saved recipe has at most ", kMaxRecipeBytes,
        ": use fewer module_weights"));
  }
  if (spec.adapters.size() > kMaxRecipeAdapters) {
    return absl::InvalidArgumentError(
        absl::StrCat("the recipe names ", spec.adapters.size(),
                     " adapters; at most ", kMaxRecipeAdapters));
  }
  return absl::OkStatus();
}

RecipeIndex::Manifest MakeManifest(const RecipeSpec& spec, int64_t version,
                                   absl::Time create_time) {
  RecipeIndex::Manifest manifest;
  manifest.set_name(spec.name);
  manifest.set_version(version);
  manifest.set_recipe(spec.recipe);
  manifest.set_resolved(spec.resolved);
  for (const Digest& adapter : spec.adapters) {
    manifest.add_adapters(EncodeDigest(adapter));
  }
  manifest.mutable_labels()->insert(spec.labels.begin(), spec.labels.end());
  manifest.set_description(spec.description);
  manifest.set_create_time_us(absl::ToUnixMicros(create_time));
  return manifest;
}

absl::Status TakenError(const NameVersion& version, absl::string_view verb) {
  return absl::AlreadyExistsError(absl::StrCat(
      "recipe \"", version.name, "@", version.version, "\" ", verb,
      " another recipe; a version never changes: leave the version out or "
      "give one that is not taken"));
}

}  // namespace

absl::StatusOr<RocksRecipeStore::Place> RocksRecipeStore::FindPlace(
    RecipeIndex& index, const RecipeSpec& spec) {
  Place place;
  if (!spec.version.has_value()) {
    ASSIGN_OR_RETURN(place.existing, index.FindNewest(spec.name));
    if (place.existing.has_value() && place.existing->recipe() == spec.recipe) {
      return place;
    }
    place.existing.reset();
    ASSIGN_OR_RETURN(const int64_t highest, index.HighestVersion(spec.name));
    if (highest >= kMaxVersion) {
      return absl::FailedPreconditionError(
          absl::StrCat("recipe \"", spec.name, "\" has version ", kMaxVersion,
                       ", the last one; give a version that is not taken"));
    }
    place.version = highest + 1;
    return place;
  }
  const NameVersion key = {spec.name, *spec.version};
  place.version = key.version;
  ASSIGN_OR_RETURN(place.existing, index.Find(key));
  if (place.existing.has_value()) {
    if (place.existing->recipe() != spec.recipe) {
      return TakenError(key, "is");
    }
    return place;
  }
  ASSIGN_OR_RETURN(const std::optional<Digest> grave, index.FindGrave(key));
  if (grave.has_value() && *grave != Sha256::Of(spec.recipe)) {
    return TakenError(key, "was deleted and was");
  }
  return place;
}

absl::Status RocksRecipeStore::CheckAdapters(rocksdb::DB& db,
                                             const RecipeSpec& spec) {
  AdapterIndex adapters(context_->db.get(), db);
  for (const Digest& digest : spec.adapters) {
    ASSIGN_OR_RETURN(const std::vector<NameVersion> names,
                     adapters.NamesOf(digest, 1));
    if (names.empty()) {
      return absl::NotFoundError(absl::StrCat(
          "the recipe names adapter ", digest.ToString(),
          ", which is not stored; it may have been deleted just now"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<RecipeRecord> RocksRecipeStore::Save(const RecipeSpec& spec) {
  RETURN_IF_ERROR(ValidateSpec(spec));
  RETURN_IF_ERROR(context_->EnsureWritable());
  MutexLock lock(&context_->commit_mu);
  ASSIGN_OR_RETURN(const RocksDb::Use db, context_->db->Acquire());
  RecipeIndex index(context_->db.get(), *db);
  ASSIGN_OR_RETURN(const Place place, FindPlace(index, spec));
  if (place.existing.has_value()) {
    return index.Load(*place.existing);
  }
  RETURN_IF_ERROR(CheckAdapters(*db, spec));
  const NameVersion key = {spec.name, place.version};
  const Manifest manifest =
      MakeManifest(spec, place.version, context_->options.clock());
  rocksdb::WriteBatch batch;
  batch.Put(RecipeKey(key), manifest.SerializeAsString());
  batch.Delete(RecipeGraveKey(key));
  for (const Digest& adapter : spec.adapters) {
    batch.Put(UseKey(adapter, key), "");
  }
  RETURN_IF_ERROR(
      context_->db->Write(*db, &batch, /*sync=*/true, "save the recipe"));
  context_->ledger.Add({.num_recipes = 1});
  return index.Load(manifest);
}

absl::StatusOr<RecipeRecord> RocksRecipeStore::Get(const AdapterRef& ref) {
  ASSIGN_OR_RETURN(const RocksDb::Use db, context_->db->Acquire());
  RecipeIndex index(context_->db.get(), *db);
  ASSIGN_OR_RETURN(const Manifest manifest, index.Locate(ref));
  return index.Load(manifest);
}

absl::StatusOr<RecipePage> RocksRecipeStore::List(
    const RecipeListOptions& options) {
  ASSIGN_OR_RETURN(const RocksDb::Use db, context_->db->Acquire());
  return RecipeIndex(context_->db.get(), *db).List(options);
}

absl::Status RocksRecipeStore::Delete(const AdapterRef& ref) {
  RETURN_IF_ERROR(context_->EnsureWritable());
  MutexLock lock(&context_->commit_mu);
  ASSIGN_OR_RETURN(const RocksDb::Use db, context_->db->Acquire());
  RecipeIndex index(context_->db.get(), *db);
  ASSIGN_OR_RETURN(const Manifest manifest, index.Locate(ref));
  const NameVersion key = {manifest.name(), manifest.version()};
  if (ref.alias.empty() && ref.version == 0) {
    ASSIGN_OR_RETURN(const std::vector<int64_t> versions,
                     index.Versions(key.name, 2));
    if (versions.size() > 1) {
      return absl::FailedPreconditionError(absl::StrCat(
          "recipe \"", key.name, "\" has several versions; say which one to ",
          "delete, for example \"", key.name, "@", versions.front(), "\""));
    }
  }
  rocksdb::WriteBatch batch;
  batch.Delete(RecipeKey(key));
  storage::v1::RecipeGrave grave;
  grave.set_recipe_sha256(EncodeDigest(Sha256::Of(manifest.recipe())));
  batch.Put(RecipeGraveKey(key), grave.SerializeAsString());
  for (const std::string& adapter : manifest.adapters()) {
    if (const std::optional<Digest> digest = ParseDigest(adapter)) {
      batch.Delete(UseKey(*digest, key));
    }
  }
  ASSIGN_OR_RETURN(const std::vector<RecipeIndex::Alias> aliases,
                   index.AliasesOf(key.name));
  for (const RecipeIndex::Alias& alias : aliases) {
    if (alias.version == key.version) {
      batch.Delete(RecipeAliasKey(key.name, alias.alias));
    }
  }
  RETURN_IF_ERROR(
      context_->db->Write(*db, &batch, /*sync=*/true, "delete the recipe"));
  context_->ledger.Add({.num_recipes = -1});
  return absl::OkStatus();
}

absl::StatusOr<RecipeRecord> RocksRecipeStore::SetAlias(absl::string_view name,
                                                        absl::string_view alias,
                                                        int64_t version) {
  RETURN_IF_ERROR(ValidateName(name));
  RETURN_IF_ERROR(ValidateAlias(alias));
  RETURN_IF_ERROR(ValidateVersion(version));
  RETURN_IF_ERROR(context_->EnsureWritable());
  MutexLock lock(&context_->commit_mu);
  ASSIGN_OR_RETURN(const RocksDb::Use db, context_->db->Acquire());
  RecipeIndex index(context_->db.get(), *db);
  AdapterRef ref;
  ref.name = std::string(name);
  ref.version = version;
  ASSIGN_OR_RETURN(const Manifest manifest, index.Locate(ref));
  ASSIGN_OR_RETURN(const std::vector<RecipeIndex::Alias> aliases,
                   index.AliasesOf(name));
  const bool moves = std::any_of(
      aliases.begin(), aliases.end(),
      [&](const RecipeIndex::Alias& known) { return known.alias == alias; });
  if (!moves && aliases.size() >= kMaxAliasesPerName) {
    return absl::FailedPreconditionError(
        absl::StrCat("recipe \"", name, "\" has ", aliases.size(),
                     " aliases, the most that a name may have; delete one"));
  }
  storage::v1::AliasTarget target;
  target.set_version(version);
  rocksdb::WriteBatch batch;
  batch.Put(RecipeAliasKey(name, alias), target.SerializeAsString());
  RETURN_IF_ERROR(
      context_->db->Write(*db, &batch, /*sync=*/true, "set the alias"));
  return index.Load(manifest);
}

absl::Status RocksRecipeStore::DeleteAlias(absl::string_view name,
                                           absl::string_view alias) {
  RETURN_IF_ERROR(ValidateName(name));
  RETURN_IF_ERROR(ValidateAlias(alias));
  RETURN_IF_ERROR(context_->EnsureWritable());
  MutexLock lock(&context_->commit_mu);
  ASSIGN_OR_RETURN(const RocksDb::Use db, context_->db->Acquire());
  AdapterRef ref;
  ref.name = std::string(name);
  ref.alias = std::string(alias);
  RETURN_IF_ERROR(RecipeIndex(context_->db.get(), *db).Locate(ref).status());
  rocksdb::WriteBatch batch;
  batch.Delete(RecipeAliasKey(name, alias));
  return context_->db->Write(*db, &batch, /*sync=*/true, "delete the alias");
}

}  // namespace stockpot
