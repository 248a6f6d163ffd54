// Resolves a recipe of the wire: names to digests, once, and the canonical
// form.

#ifndef STOCKPOT_SERVER_RECIPE_RESOLVER_H_
#define STOCKPOT_SERVER_RECIPE_RESOLVER_H_

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "proto/stockpot/v1/recipe.pb.h"

#include "merge/recipe.h"
#include "server/serving.h"

namespace stockpot {

struct ResolvedCallRecipe {
  Recipe recipe;
  v1::ResolvedRecipe wire;
  // Keep the adapters readable until they are in memory, even if they are
  // deleted meanwhile.
  std::vector<ResolvedAdapter> adapters;
};

// Checks what can be checked without storage: counts, bounds, the method and
// its options. Errors: InvalidArgument naming the field.
absl::Status CheckRecipe(const v1::Recipe& recipe);

// Blocks on storage. Errors: those of CheckRecipe() and Recipe::Create();
// NotFound (an adapter), DataLoss, FailedPrecondition (registered for another
// base model).
absl::StatusOr<ResolvedCallRecipe> ResolveRecipe(const v1::Recipe& recipe,
                                                 const Serving& serving);

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_RECIPE_RESOLVER_H_
