// What a recipe that needs no merging multiplies its adapters' factors by.
// Pure functions.

#ifndef STOCKPOT_MERGE_MIXING_H_
#define STOCKPOT_MERGE_MIXING_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "formats/adapter_layout.h"
#include "merge/adapter.h"
#include "merge/composition.h"
#include "merge/recipe.h"

namespace stockpot {

// Whether, in each module, all of the recipe's skills that have a part there
// have one rank. `adapters` are the recipe's, in its order; `modules` may be
// empty: messages then number the modules.
// Errors: FailedPrecondition naming the module, two skills and their ranks.
absl::Status CheckEqualRanks(
    const Recipe& recipe,
    absl::Span<const std::shared_ptr<const Adapter>> adapters,
    absl::Span<const BaseModule> modules);

// Coefficients of cat, linear and lorahub. With weight w_i and scaling s_i:
//   cat      b_i = w_i s_i, each skill alone
//   linear   a_i = sign(w_i s_i) sqrt|w_i s_i|, b_i = sqrt|w_i s_i|, as PEFT
//   lorahub  a_i = w_i, b_i = w_i s; all skills of a module must have one s
// A skill that does not adapt a module, or has weight 0 there, has no part in
// it, as in PEFT.
//
// Errors: FailedPrecondition naming the module and two skills, for linear and
// lorahub: unequal ranks; for lorahub: unequal scalings.
// REQUIRES: !IsDerived(recipe.options()).
absl::StatusOr<MixingCoefficients> MixingOf(
    const Recipe& recipe,
    absl::Span<const std::shared_ptr<const Adapter>> adapters,
    absl::Span<const BaseModule> modules);

// The name of module `m` for a message: "model.layers.0.mlp.up_proj".
std::string ModuleText(absl::Span<const BaseModule> modules, size_t m);

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_MIXING_H_
