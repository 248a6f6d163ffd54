// A Recipe says which adapters to mix, how much of each on each module, and by
// which method; in canonical form.
//
// Two requests that mean the same have equal recipes and equal digests:
// repeated skills are added up, zero weights dropped, the rest ordered by
// adapter digest, and patterns replaced by the weight of each module.
// Immutable; no torch.

#ifndef STOCKPOT_MERGE_RECIPE_H_
#define STOCKPOT_MERGE_RECIPE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "base/digest.h"
#include "formats/adapter_layout.h"
#include "merge/merge_options.h"

namespace stockpot {

// Multiplies a skill's weight on the modules that `pattern` matches.
struct ModuleWeight {
  std::string pattern;  // See base/glob.h.
  float weight = 1;
};

// A skill as a request writes it, its adapter resolved.
struct SkillSpec {
  Digest adapter;
  float weight = 1;
  // The last match wins.
  std::vector<ModuleWeight> module_weights;
};

// A skill in canonical form.
struct RecipeSkill {
  Digest adapter;
  // [modules]: what multiplies the adapter's own scaling. Not all zero.
  std::vector<float> weights;
};

class Recipe {
 public:
  static constexpr size_t kMaxSkills = 64;
  static constexpr size_t kMaxModuleWeights = 4096;
  static constexpr float kMaxWeight = 100;

  // The base model alone.
  Recipe() = default;

  // Canonicalises `skills` against the base model's `modules`.
  //
  // Errors: InvalidArgument naming the field: more than kMaxSkills, a weight
  // that is not finite or beyond kMaxWeight, a bad pattern or one that matches
  // no module, and those of CheckMergeOptions().
  static absl::StatusOr<Recipe> Create(absl::Span<const SkillSpec> skills,
                                       const MergeOptions& options,
                                       absl::Span<const BaseModule> modules,
                                       const Digest& base_model);

  bool is_base() const { return skills_.empty(); }
  const MergeOptions& options() const { return options_; }
  // By adapter digest, each once.
  const std::vector<RecipeSkill>& skills() const { return skills_; }
  // SHA-256 of the canonical form and the base model's digest: the key of
  // composition and KV caches. Options that the method does not read have no
  // part in it.
  const Digest& digest() const { return digest_; }

 private:
  MergeOptions options_;
  std::vector<RecipeSkill> skills_;
  Digest digest_;
};

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_RECIPE_H_
