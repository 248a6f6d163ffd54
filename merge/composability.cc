#include "merge/composability.h"

#include "absl/strings/str_cat.h"

#include "base/status_macros.h"

namespace stockpot {

namespace {

// True if the skill runs at weight 1 wherever its adapter does anything.
bool IsPlain(const RecipeSkill& skill, const Adapter& adapter) {
  for (size_t m = 0; m < skill.weights.size(); ++m) {
    if (adapter.scales[m] != 0 && skill.weights[m] != 1) {
      return false;
    }
  }
  return true;
}

absl::Status CheckAlone(const Recipe& recipe, const RecipeSkill& skill,
                        const Adapter& adapter) {
  const char* problem = nullptr;
  if (recipe.skills().size() > 1) {
    problem = "mixed with other adapters";
  } else if (!IsPlain(skill, adapter)) {
    problem = "given a weight other than 1";
  } else if (recipe.options().method != MergeMethod::kCat) {
    problem = "merged by a method other than cat";
  }
  if (problem == nullptr) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "adapter sha256:", adapter.digest.ToHex(), " cannot be ", problem, ": ",
      adapter.alone_because,
      ". Use it as the only skill, at weight 1 on every module, with cat"));
}

}  // namespace

absl::Status CheckComposable(const Recipe& recipe,
                             absl::Span<const ComposedSkill> skills) {
  for (size_t i = 0; i < skills.size(); ++i) {
    const Adapter& adapter = *skills[i].adapter;
    if (!adapter.alone_because.empty()) {
      RETURN_IF_ERROR(CheckAlone(recipe, recipe.skills()[i], adapter));
    }
    if (adapter.has_bias && recipe.options().method != MergeMethod::kCat) {
      return absl::FailedPreconditionError(absl::StrCat(
          "adapter sha256:", adapter.digest.ToHex(),
          " adds biases (lora_bias), which the method ",
          MethodName(recipe.options().method), " does not define. Use cat"));
    }
  }
  return absl::OkStatus();
}

}  // namespace stockpot
