// PinnedRecipes keeps compositions in memory that an operator pinned, whatever
// the caches evict, until they are unpinned or the daemon ends.
//
// Thread-safe.

#ifndef STOCKPOT_SERVER_PINNED_RECIPES_H_
#define STOCKPOT_SERVER_PINNED_RECIPES_H_

#include <cstddef>
#include <map>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "proto/stockpot/v1/recipe.pb.h"

#include "base/digest.h"
#include "base/mutex.h"
#include "merge/composition.h"

namespace stockpot {

class PinnedRecipes {
 public:
  static constexpr size_t kMaxPinned = 256;

  // Holds `composition`; once more is no error. `resolved.digest` names it.
  // Errors: ResourceExhausted (kMaxPinned are pinned); FailedPrecondition (the
  // base model alone is always in memory).
  absl::Status Pin(const v1::ResolvedRecipe& resolved,
                   std::shared_ptr<const Composition> composition)
      ABSL_LOCKS_EXCLUDED(mu_);

  // Returns what was pinned. Errors: NotFound.
  absl::StatusOr<v1::ResolvedRecipe> Unpin(const Digest& recipe)
      ABSL_LOCKS_EXCLUDED(mu_);

  // By digest.
  std::map<Digest, v1::ResolvedRecipe> All() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Pinned {
    v1::ResolvedRecipe resolved;
    std::shared_ptr<const Composition> composition;
  };

  mutable Mutex mu_;
  std::map<Digest, Pinned> pinned_ ABSL_GUARDED_BY(mu_);
};

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_PINNED_RECIPES_H_
