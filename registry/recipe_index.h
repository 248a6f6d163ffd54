// The read side of the keys of saved recipes, as AdapterIndex is of adapters.
//
// A view of an open database for one operation. Thread-safe; each method sees
// one state of the database, two methods may see two.

#ifndef STOCKPOT_REGISTRY_RECIPE_INDEX_H_
#define STOCKPOT_REGISTRY_RECIPE_INDEX_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "rocksdb/db.h"

#include "proto/stockpot/v1/storage.pb.h"

#include "base/digest.h"
#include "registry/adapter_index.h"
#include "registry/adapter_ref.h"
#include "registry/key_codec.h"
#include "registry/recipe_store.h"
#include "registry/rocks_db.h"

namespace stockpot {

class RecipeIndex {
 public:
  using Manifest = storage::v1::RecipeManifest;
  using Alias = AdapterIndex::Alias;

  RecipeIndex(RocksDb* owner, rocksdb::DB& db) : owner_(owner), db_(db) {}

  // Errors of all methods, besides those named: DataLoss, Unavailable.

  // The manifest that `ref` means now. Errors: InvalidArgument, NotFound.
  absl::StatusOr<Manifest> Locate(const AdapterRef& ref);

  absl::StatusOr<std::optional<Manifest>> Find(const NameVersion& version);
  absl::StatusOr<std::optional<Manifest>> FindNewest(absl::string_view name);
  // The SHA-256 of the recipe that had this name and version and was deleted.
  absl::StatusOr<std::optional<Digest>> FindGrave(const NameVersion& version);
  // The highest version that `name` has or had; 0: none.
  absl::StatusOr<int64_t> HighestVersion(absl::string_view name);

  // The first `limit` versions of `name`, ascending.
  absl::StatusOr<std::vector<int64_t>> Versions(absl::string_view name,
                                                size_t limit);
  // All aliases of `name`, sorted.
  absl::StatusOr<std::vector<Alias>> AliasesOf(absl::string_view name);
  // A recipe that uses the adapter `digest`.
  absl::StatusOr<std::optional<NameVersion>> UserOf(const Digest& digest);

  // The record of `manifest`, with its aliases.
  absl::StatusOr<RecipeRecord> Load(const Manifest& manifest);

  // Errors: InvalidArgument.
  absl::StatusOr<RecipePage> List(const RecipeListOptions& options);

 private:
  absl::StatusOr<bool> Get(absl::string_view key, std::string* value);
  absl::Status Check(const RangeIterator& it);
  absl::Status NotFound(const AdapterRef& ref);

  RocksDb* const owner_;
  rocksdb::DB& db_;
};

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_RECIPE_INDEX_H_
