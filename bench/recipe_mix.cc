#include "bench/recipe_mix.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

#include "base/status_macros.h"

namespace stockpot {
namespace {

// Skills per recipe and recipes are bounded by what the wire and a run can use.
constexpr int32_t kMaxSkillsPerRecipe = 64;
constexpr int32_t kMaxRecipes = 100000;

// Sets of k out of n, at most `bound`.
int64_t CountSubsets(int64_t n, int64_t k, int64_t bound) {
  k = std::min(k, n - k);
  double count = 1;
  for (int64_t i = 0; i < k && count < static_cast<double>(bound); ++i) {
    count = count * static_cast<double>(n - i) / static_cast<double>(i + 1);
  }
  return std::min<int64_t>(bound, std::llround(std::min<double>(count, bound)));
}

// All sets of k out of n in lexicographic order.
std::vector<std::vector<int32_t>> AllSubsets(int32_t n, int32_t k) {
  std::vector<std::vector<int32_t>> subsets;
  std::vector<int32_t> subset(k);
  std::iota(subset.begin(), subset.end(), 0);
  while (true) {
    subsets.push_back(subset);
    int32_t i = k - 1;
    while (i >= 0 && subset[i] == n - k + i) {
      --i;
    }
    if (i < 0) {
      return subsets;
    }
    std::iota(subset.begin() + i, subset.end(), subset[i] + 1);
  }
}

std::vector<int32_t> RandomSubset(int32_t n, int32_t k,
                                  std::mt19937_64& random) {
  std::set<int32_t> subset;
  std::uniform_int_distribution<int32_t> pick(0, n - 1);
  while (static_cast<int32_t>(subset.size()) < k) {
    subset.insert(pick(random));
  }
  return {subset.begin(), subset.end()};
}

// REQUIRES: 1 <= k <= n and at least `count` sets of k out of n exist.
std::vector<std::vector<int32_t>> MakeRecipes(int32_t n, int32_t k,
                                              int32_t count, uint64_t seed) {
  std::vector<std::vector<int32_t>> recipes;
  std::set<std::vector<int32_t>> known;
  const auto add = [&](const std::vector<int32_t>& recipe) {
    if (static_cast<int32_t>(recipes.size()) < count &&
        known.insert(recipe).second) {
      recipes.push_back(recipe);
    }
  };
  for (int32_t first = 0; first < n; ++first) {
    std::vector<int32_t> window(k);
    for (int32_t i = 0; i < k; ++i) {
      window[i] = (first + i) % n;
    }
    std::sort(window.begin(), window.end());
    add(window);
  }
  std::mt19937_64 random(seed);
  // Drawing until all differ would take forever once nearly all are drawn.
  if (CountSubsets(n, k, 4 * kMaxRecipes) < 4 * kMaxRecipes) {
    std::vector<std::vector<int32_t>> all = AllSubsets(n, k);
    std::shuffle(all.begin(), all.end(), random);
    std::for_each(all.begin(), all.end(), add);
  }
  while (static_cast<int32_t>(recipes.size()) < count) {
    add(RandomSubset(n, k, random));
  }
  return recipes;
}

}  // namespace

absl::StatusOr<RecipeMix> RecipeMix::Make(const RecipeMixOptions& options) {
  RecipeMix mix;
  if (options.skills.empty()) {
    RETURN_IF_ERROR(mix.SetPopularity(options.popularity));
    return mix;
  }
  const auto num_skills = static_cast<int32_t>(options.skills.size());
  const int32_t k = options.skills_per_recipe;
  if (k < 1 || k > std::min(num_skills, kMaxSkillsPerRecipe)) {
    return absl::InvalidArgumentError(
        absl::StrCat("skills per recipe ", k, ": expected 1..",
                     std::min(num_skills, kMaxSkillsPerRecipe), " with ",
                     num_skills, " skills"));
  }
  const int64_t most = CountSubsets(num_skills, k, kMaxRecipes);
  if (options.num_recipes < 1 || options.num_recipes > most) {
    return absl::InvalidArgumentError(
        absl::StrCat("recipes ", options.num_recipes, ": expected 1..", most,
                     ", all there are of ", k, " out of ", num_skills,
                     " skills (at most ", kMaxRecipes, ")"));
  }
  mix.skills_ = options.skills;
  mix.recipes_ = MakeRecipes(num_skills, k, options.num_recipes, options.seed);
  RETURN_IF_ERROR(mix.SetPopularity(options.popularity));
  return mix;
}

absl::Status RecipeMix::SetPopularity(absl::string_view text) {
  in_turn_ = text == "distinct";
  double exponent = 0;
  absl::string_view rest = text;
  if (text == "identical") {
    weights_ = {1};
  } else if (text == "uniform") {
    weights_.assign(recipes_.size(), 1);
  } else if (absl::ConsumePrefix(&rest, "zipf:") &&
             absl::SimpleAtod(rest, &exponent) && exponent > 0 &&
             exponent <= 100) {
    for (size_t i = 0; i < recipes_.size(); ++i) {
      weights_.push_back(std::pow(static_cast<double>(i + 1), -exponent));
    }
  } else if (!in_turn_) {
    return absl::InvalidArgumentError(absl::StrCat(
        "popularity \"", text,
        "\": expected uniform, zipf:EXPONENT, identical or distinct"));
  }
  return absl::OkStatus();
}

int32_t RecipeMix::Choose(int64_t request, std::mt19937_64& random) const {
  if (recipes_.empty()) {
    return -1;
  }
  if (in_turn_) {
    return static_cast<int32_t>(request % num_recipes());
  }
  return std::discrete_distribution<int32_t>(weights_.begin(),
                                             weights_.end())(random);
}

}  // namespace stockpot
