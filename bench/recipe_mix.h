// The recipes of a load and how often each is asked for.

#ifndef STOCKPOT_BENCH_RECIPE_MIX_H_
#define STOCKPOT_BENCH_RECIPE_MIX_H_

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stockpot {

struct RecipeMixOptions {
  // Adapters to mix, as Skill.adapter. Empty: every request is for the base.
  std::vector<std::string> skills = {};
  int32_t skills_per_recipe = 1;
  int32_t num_recipes = 1;
  // uniform    each recipe as often, at random
  // zipf:S     recipe i with probability ~ 1 / (i + 1)^S
  // identical  always the first one
  // distinct   in turn: neighbouring requests differ
  std::string popularity = "uniform";
  uint64_t seed = 0;
};

// Immutable; thread-safe.
class RecipeMix {
 public:
  // The recipes are pairwise different sets of skills. The first as many as
  // there are skills go round in a ring, so that each skill is used as often as
  // any other; those after them are drawn at random.
  // Errors: InvalidArgument, which names the option.
  static absl::StatusOr<RecipeMix> Make(const RecipeMixOptions& options);

  int32_t num_recipes() const { return static_cast<int32_t>(recipes_.size()); }

  // The skills of recipe `index`; indices into options.skills, ascending.
  const std::vector<int32_t>& recipe(int32_t index) const {
    return recipes_[index];
  }
  const std::string& skill(int32_t index) const { return skills_[index]; }

  // The recipe of request number `request`, or -1 for the base model alone.
  // `random` is used by the random popularities only.
  int32_t Choose(int64_t request, std::mt19937_64& random) const;

 private:
  RecipeMix() = default;

  absl::Status SetPopularity(absl::string_view text);

  std::vector<std::string> skills_;
  std::vector<std::vector<int32_t>> recipes_;
  bool in_turn_ = false;
  std::vector<double> weights_;  // Empty when in turn.
};

}  // namespace stockpot

#endif  // STOCKPOT_BENCH_RECIPE_MIX_H_
