// Saved recipes: what the methods of RegistryService do with them, and how a
// call that names one gets it.
//
// A recipe is saved as the wire's own message, with digests in place of names:
// the store keeps it as bytes. All functions block on storage and are
// thread-safe.

#ifndef STOCKPOT_SERVER_SAVED_RECIPES_H_
#define STOCKPOT_SERVER_SAVED_RECIPES_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "proto/stockpot/v1/registry.pb.h"

#include "server/recipe_resolver.h"
#include "server/serving.h"

namespace stockpot {

// Errors: those of ResolveRecipe() and RecipeStore::Save().
absl::Status SaveRecipe(const v1::SaveRecipeRequest& request,
                        const Serving& serving, v1::SavedRecipe* response);

// Errors: InvalidArgument; those of the RecipeStore's method.
absl::Status GetRecipe(const v1::GetRecipeRequest& request,
                       const Serving& serving, v1::SavedRecipe* response);
absl::Status ListRecipes(const v1::ListRecipesRequest& request,
                         const Serving& serving,
                         v1::ListRecipesResponse* response);
absl::Status DeleteRecipe(const v1::DeleteRecipeRequest& request,
                          const Serving& serving);
absl::Status SetRecipeAlias(const v1::SetAliasRequest& request,
                            const Serving& serving, v1::SavedRecipe* response);

// Checks the form of a call's saved_recipe, without storage.
// Errors: InvalidArgument.
absl::Status CheckSavedRecipe(const std::string& name);

// The saved recipe that `name` means now, resolved; its skills bear the names
// that they were saved by. Errors: InvalidArgument, NotFound, DataLoss; those
// of ResolveRecipe(), naming the saved recipe.
absl::StatusOr<ResolvedCallRecipe> ResolveSavedRecipe(const std::string& name,
                                                      const Serving& serving);

// What a request with the fields `recipe` and `saved_recipe` names. Errors:
// those of ResolveRecipe(), CheckSavedRecipe() and ResolveSavedRecipe().
template <typename Request>
absl::StatusOr<ResolvedCallRecipe> ResolveChoice(const Request& request,
                                                 const Serving& serving) {
  if (!request.has_saved_recipe()) {
    return ResolveRecipe(request.recipe(), serving);
  }
  if (absl::Status status = CheckSavedRecipe(request.saved_recipe());
      !status.ok()) {
    return status;
  }
  return ResolveSavedRecipe(request.saved_recipe(), serving);
}

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_SAVED_RECIPES_H_
