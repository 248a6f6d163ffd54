#include "merge/recipe.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "base/glob.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace stockpot {

namespace {

// What matching one module may cost, over all wildcard patterns of a recipe.
constexpr size_t kMaxPatternBytes = size_t{64} << 10;

absl::Status CheckWeight(absl::string_view field, float weight) {
  // Negated, so that NaN fails.
  if (!(std::abs(weight) <= Recipe::kMaxWeight)) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, " must be finite and at most ", Recipe::kMaxWeight,
                     " in size; got ", weight));
  }
  return absl::OkStatus();
}

// Expands a skill's patterns to one weight per module.
class ModuleWeights {
 public:
  explicit ModuleWeights(absl::Span<const BaseModule> modules)
      : modules_(modules) {
    for (size_t i = 0; i < modules.size(); ++i) {
      index_.emplace(modules[i].path, i);
    }
  }

  // [modules]; `field` is the skill's place in the request.
  absl::StatusOr<std::vector<float>> Expand(const SkillSpec& skill,
                                            const std::string& field) {
    RETURN_IF_ERROR(CheckWeight(field + ".weight", skill.weight));
    if (skill.module_weights.size() > Recipe::kMaxModuleWeights) {
      return absl::InvalidArgumentError(absl::StrCat(
          field, ".module_weights has ", skill.module_weights.size(),
          " entries; at most ", Recipe::kMaxModuleWeights));
    }
    std::vector<float> weights(modules_.size(), skill.weight);
    for (size_t i = 0; i < skill.module_weights.size(); ++i) {
      const ModuleWeight& entry = skill.module_weights[i];
      const std::string at = absl::StrCat(field, ".module_weights[", i, "]");
      RETURN_IF_ERROR(CheckWeight(at + ".weight", entry.weight));
      RETURN_IF_ERROR(
          Apply(entry.pattern, skill.weight * entry.weight, at, &weights));
    }
    return weights;
  }

 private:
  absl::Status Apply(const std::string& pattern, float weight,
                     const std::string& field, std::vector<float>* weights) {
    if (auto it = index_.find(pattern); it != index_.end()) {
      (*weights)[it->second] = weight;
      return absl::OkStatus();
    }
    absl::StatusOr<Glob> glob = Glob::Parse(pattern);
    if (!glob.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(field, ".modules: ", glob.status().message()));
    }
    pattern_bytes_ += glob->expanded_bytes();
    if (pattern_bytes_ > kMaxPatternBytes) {
      return absl::InvalidArgumentError(absl::StrCat(
          field,
          ".modules: the recipe's wildcard patterns expand to more than ",
          kMaxPatternBytes, " bytes; name modules in full instead"));
    }
    bool matched = false;
    for (size_t i = 0; i < modules_.size(); ++i) {
      if (glob->Matches(modules_[i].path)) {
        (*weights)[i] = weight;
        matched = true;
      }
    }
    if (!matched) {
      return absl::InvalidArgumentError(absl::StrCat(
          field, ".modules: \"", pattern.substr(0, Glob::kMaxBytes),
          "\" matches no module of the base model; the first module is \"",
          modules_.front().path, "\""));
    }
    return absl::OkStatus();
  }

  const absl::Span<const BaseModule> modules_;
  absl::flat_hash_map<std::string, size_t> index_;
  size_t pattern_bytes_ = 0;
};

Digest DigestOf(const std::vector<RecipeSkill>& skills,
                const MergeOptions& options, const Digest& base_model) {
  Sha256 hash;
  hash.UpdateFramed("stockpot recipe 1");
  hash.UpdateFramed(base_model.ToHex());
  hash.UpdateU64(static_cast<uint64_t>(options.method));
  for (const MergeOption& option : CanonicalOptions(options)) {
    hash.UpdateFramed(option.name);
    hash.UpdateU64(option.bits);
  }
  for (const RecipeSkill& skill : skills) {
    hash.UpdateFramed(skill.adapter.ToHex());
    for (const float weight : skill.weights) {
      // +0 stands for both zeros.
      hash.UpdateU64(weight == 0 ? 0 : std::bit_cast<uint32_t>(weight));
    }
  }
  return hash.Finish();
}

}  // namespace

absl::StatusOr<Recipe> Recipe::Create(absl::Span<const SkillSpec> skills,
                                      const MergeOptions& options,
                                      absl::Span<const BaseModule> modules,
                                      const Digest& base_model) {
  if (skills.size() > kMaxSkills) {
    return absl::InvalidArgumentError(absl::StrCat(
        "recipe.skills has ", skills.size(), " entries; at most ", kMaxSkills));
  }
  RETURN_IF_ERROR(CheckMergeOptions(options));
  ModuleWeights expander(modules);
  std::map<Digest, std::vector<std::vector<float>>> parts;
  for (size_t i = 0; i < skills.size(); ++i) {
    ASSIGN_OR_RETURN(
        std::vector<float> weights,
        expander.Expand(skills[i], absl::StrCat("recipe.skills[", i, "]")));
    parts[skills[i].adapter].push_back(std::move(weights));
  }
  Recipe recipe;
  recipe.options_ = options;
  for (auto& [adapter, rows] : parts) {
    // Sorted, so that the order of repeated skills cannot show in a rounding.
    std::sort(rows.begin(), rows.end());
    std::vector<double> sum(modules.size());
    for (const std::vector<float>& row : rows) {
      for (size_t m = 0; m < row.size(); ++m) {
        sum[m] += row[m];
      }
    }
    RecipeSkill skill;
    skill.adapter = adapter;
    bool is_zero = true;
    for (const double weight : sum) {
      skill.weights.push_back(static_cast<float>(weight));
      is_zero = is_zero && skill.weights.back() == 0;
    }
    if (!is_zero) {
      recipe.skills_.push_back(std::move(skill));
    }
  }
  if (recipe.skills_.empty()) {
    recipe.options_ = MergeOptions();  // Nothing by any method is nothing.
  }
  recipe.digest_ = DigestOf(recipe.skills_, recipe.options_, base_model);
  return recipe;
}

}  // namespace stockpot
