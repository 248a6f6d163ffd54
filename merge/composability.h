// Which adapters may stand in one recipe.

#ifndef STOCKPOT_MERGE_COMPOSABILITY_H_
#define STOCKPOT_MERGE_COMPOSABILITY_H_

#include "absl/status/status.h"
#include "absl/types/span.h"

#include "merge/composition.h"
#include "merge/recipe.h"

namespace stockpot {

// Checks that the recipe's method is defined for its adapters, in the order of
// recipe.skills(). `modules` may be empty: messages then number the modules.
//
// Errors: FailedPrecondition, which names the adapter's digest, why it cannot
// be used so, and how it can: an adapter that runs only alone beside others, at
// another weight than 1 or under a method other than cat; one with biases under
// a method other than cat; one whose rows of embedding or head have another
// weight than 0 or 1, another method, or a second owner.
absl::Status CheckComposable(const Recipe& recipe,
                             absl::Span<const ComposedSkill> skills,
                             absl::Span<const BaseModule> modules = {});

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_COMPOSABILITY_H_
