// What the caches hold, and what operators do with it: AdminService's
// WarmRecipe, PinRecipe, UnpinRecipe and ListResident. All block on storage.

#ifndef STOCKPOT_SERVER_RESIDENT_H_
#define STOCKPOT_SERVER_RESIDENT_H_

#include "absl/status/status.h"

#include "proto/stockpot/v1/admin.pb.h"

#include "base/stop_check.h"
#include "server/serving.h"

namespace stockpot {

// `stopped`: the call has ended.
// Errors: those of ResolveChoice() and Composer::Compose().
absl::Status WarmRecipe(const v1::WarmRecipeRequest& request,
                        const Serving& serving, const StopCheck& stopped,
                        v1::ResolvedRecipe* response);

// Likewise, and those of PinnedRecipes::Pin().
absl::Status PinRecipe(const v1::PinRecipeRequest& request,
                       const Serving& serving, const StopCheck& stopped,
                       v1::ResolvedRecipe* response);

// Errors: InvalidArgument (no digest); NotFound.
absl::Status UnpinRecipe(const v1::UnpinRecipeRequest& request,
                         const Serving& serving, v1::ResolvedRecipe* response);

// Errors: DataLoss, Unavailable (the registry cannot be read).
absl::Status ListResident(const Serving& serving,
                          v1::ListResidentResponse* response);

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_RESIDENT_H_
