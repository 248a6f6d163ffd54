#include "merge/composability.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "base/status_macros.h"
#include "merge/mixing.h"

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

// A token whose row both replace; nullopt if there is none.
std::optional<int64_t> CommonToken(const ReplacedTokens& a,
                                   const ReplacedTokens& b) {
  if (a.module != b.module) {
    return std::nullopt;
  }
  if (a.tokens.empty() || b.tokens.empty()) {
    const std::vector<int64_t>& named = a.tokens.empty() ? b.tokens : a.tokens;
    return named.empty() ? 0 : named.front();
  }
  for (const int64_t token : a.tokens) {
    if (std::binary_search(b.tokens.begin(), b.tokens.end(), token)) {
      return token;
    }
  }
  return std::nullopt;
}

constexpr char kLeaveOut[] =
    ", or leave the rows out with weight 0 in module_weights";

// Whether no skill before skills[i] has rows that are in `own` of skills[i].
absl::Status CheckOnlyOwner(const Recipe& recipe,
                            absl::Span<const ComposedSkill> skills, size_t i,
                            const ReplacedTokens& own,
                            const std::string& what) {
  for (size_t j = 0; j < i; ++j) {
    for (const ReplacedTokens& other : skills[j].adapter->replaced) {
      const std::optional<int64_t> token = CommonToken(own, other);
      if (token.has_value() && recipe.skills()[j].weights[other.module] != 0) {
        return absl::FailedPreconditionError(absl::StrCat(
            what, "and so does adapter sha256:",
            skills[j].adapter->digest.ToHex(), ": token ", *token,
            " would have two. Take one of the adapters", kLeaveOut));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CheckReplaced(const Recipe& recipe,
                           absl::Span<const ComposedSkill> skills, size_t i,
                           absl::Span<const BaseModule> modules) {
  const Adapter& adapter = *skills[i].adapter;
  for (const ReplacedTokens& own : adapter.replaced) {
    const float weight = recipe.skills()[i].weights[own.module];
    if (weight == 0) {
      continue;
    }
    const std::string what = absl::StrCat(
        "adapter sha256:", adapter.digest.ToHex(), " replaces rows of module ",
        ModuleText(modules, own.module),
        " (trainable_token_indices or modules_to_save), ");
    if (recipe.options().method != MergeMethod::kCat) {
      return absl::FailedPreconditionError(absl::StrCat(
          what, "which the method ", MethodName(recipe.options().method),
          " does not define. Use cat", kLeaveOut));
    }
    if (weight != 1) {
      return absl::FailedPreconditionError(absl::StrCat(
          what, "of which a share of ", weight,
          " is not defined. Give it weight 1 on this module", kLeaveOut));
    }
    RETURN_IF_ERROR(CheckOnlyOwner(recipe, skills, i, own, what));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckComposable(const Recipe& recipe,
                             absl::Span<const ComposedSkill> skills,
                             absl::Span<const BaseModule> modules) {
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
    RETURN_IF_ERROR(CheckReplaced(recipe, skills, i, modules));
  }
  return absl::OkStatus();
}

}  // namespace stockpot
