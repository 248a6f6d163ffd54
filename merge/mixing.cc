#include "merge/mixing.h"

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "base/status_macros.h"

namespace stockpot {

namespace {

using Adapters = absl::Span<const std::shared_ptr<const Adapter>>;

bool HasPart(const Recipe& recipe, const Adapters& adapters, size_t skill,
             size_t module) {
  return recipe.skills()[skill].weights[module] != 0 &&
         adapters[skill]->ranks[module] > 0;
}

// LoraHub's own code takes the first adapter's scaling for all.
absl::Status CheckEqualScalings(const Recipe& recipe, const Adapters& adapters,
                                absl::Span<const BaseModule> modules) {
  for (size_t m = 0; m < recipe.skills()[0].weights.size(); ++m) {
    size_t first = adapters.size();
    for (size_t i = 0; i < adapters.size(); ++i) {
      if (!HasPart(recipe, adapters, i, m)) {
        continue;
      }
      if (first == adapters.size()) {
        first = i;
      } else if (adapters[i]->scales[m] != adapters[first]->scales[m]) {
        return absl::FailedPreconditionError(absl::StrCat(
            "recipe.lorahub needs equal scalings (alpha / rank) in module ",
            ModuleText(modules, m), ": skill ",
            adapters[first]->digest.ToString(), " has ",
            adapters[first]->scales[m], " and skill ",
            adapters[i]->digest.ToString(), " has ", adapters[i]->scales[m],
            "; choose cat or linear"));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::string ModuleText(absl::Span<const BaseModule> modules, size_t m) {
  return m < modules.size() ? absl::StrCat("\"", modules[m].path, "\"")
                            : absl::StrCat(m);
}

absl::Status CheckEqualRanks(const Recipe& recipe, Adapters adapters,
                             absl::Span<const BaseModule> modules) {
  for (size_t m = 0; m < recipe.skills()[0].weights.size(); ++m) {
    size_t first = adapters.size();
    for (size_t i = 0; i < adapters.size(); ++i) {
      if (!HasPart(recipe, adapters, i, m)) {
        continue;
      }
      if (first == adapters.size()) {
        first = i;
      } else if (adapters[i]->ranks[m] != adapters[first]->ranks[m]) {
        return absl::FailedPreconditionError(absl::StrCat(
            "recipe.", MethodName(recipe.options().method),
            " looks at A and B apart and needs equal ranks in module ",
            ModuleText(modules, m), ": skill ",
            adapters[first]->digest.ToString(), " has ",
            adapters[first]->ranks[m], " and skill ",
            adapters[i]->digest.ToString(), " has ", adapters[i]->ranks[m],
            "; choose cat, svd, or the delta or core space"));
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<MixingCoefficients> MixingOf(
    const Recipe& recipe, Adapters adapters,
    absl::Span<const BaseModule> modules) {
  const MergeMethod method = recipe.options().method;
  const bool rank_one = method != MergeMethod::kCat;
  if (rank_one) {
    RETURN_IF_ERROR(CheckEqualRanks(recipe, adapters, modules));
  }
  if (method == MergeMethod::kLoraHub) {
    RETURN_IF_ERROR(CheckEqualScalings(recipe, adapters, modules));
  }
  MixingCoefficients mix;
  for (size_t i = 0; i < adapters.size(); ++i) {
    const std::vector<float>& weights = recipe.skills()[i].weights;
    std::vector<float> expand(weights.size());
    std::vector<float> shrink(rank_one ? weights.size() : 0);
    for (size_t m = 0; m < weights.size(); ++m) {
      const float scaled = weights[m] * adapters[i]->scales[m];
      expand[m] = scaled;
      if (method == MergeMethod::kLinear) {
        expand[m] = std::sqrt(std::abs(scaled));
        shrink[m] = std::copysign(expand[m], scaled);
      } else if (method == MergeMethod::kLoraHub) {
        shrink[m] = HasPart(recipe, adapters, i, m) ? weights[m] : 0;
      }
    }
    mix.by_skill.push_back(std::move(expand));
    if (rank_one) {
      mix.shrink_by_skill.push_back(std::move(shrink));
    }
  }
  return mix;
}

}  // namespace stockpot
