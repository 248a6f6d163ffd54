// The RecipeStore of a RocksStore: in the same database, under keys of its own,
// and under the same lock, so that no adapter goes while a recipe that names it
// is saved.

#ifndef STOCKPOT_REGISTRY_ROCKS_RECIPE_STORE_H_
#define STOCKPOT_REGISTRY_ROCKS_RECIPE_STORE_H_

#include <cstdint>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "rocksdb/db.h"

#include "registry/recipe_index.h"
#include "registry/recipe_store.h"
#include "registry/store_context.h"

namespace stockpot {

class RocksRecipeStore final : public RecipeStore {
 public:
  // `context` must outlive the store.
  explicit RocksRecipeStore(StoreContext* context) : context_(context) {}

  absl::StatusOr<RecipeRecord> Save(const RecipeSpec& spec) override
      ABSL_LOCKS_EXCLUDED(context_->commit_mu);
  absl::StatusOr<RecipeRecord> Get(const AdapterRef& ref) override;
  absl::StatusOr<RecipePage> List(const RecipeListOptions& options) override;
  absl::Status Delete(const AdapterRef& ref) override
      ABSL_LOCKS_EXCLUDED(context_->commit_mu);
  absl::StatusOr<RecipeRecord> SetAlias(absl::string_view name,
                                        absl::string_view alias,
                                        int64_t version) override
      ABSL_LOCKS_EXCLUDED(context_->commit_mu);
  absl::Status DeleteAlias(absl::string_view name,
                           absl::string_view alias) override
      ABSL_LOCKS_EXCLUDED(context_->commit_mu);

 private:
  using Manifest = RecipeIndex::Manifest;

  // The equal recipe that is saved already, or none and the version to write.
  struct Place {
    int64_t version = 0;
    std::optional<Manifest> existing;
  };

  absl::StatusOr<Place> FindPlace(RecipeIndex& index, const RecipeSpec& spec);
  // Errors: NotFound, naming the digest that has no name.
  absl::Status CheckAdapters(rocksdb::DB& db, const RecipeSpec& spec)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(context_->commit_mu);

  StoreContext* const context_;
};

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_ROCKS_RECIPE_STORE_H_
