#include "server/pinned_recipes.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace stockpot {

absl::Status PinnedRecipes::Pin(
    const v1::ResolvedRecipe& resolved,
    std::shared_ptr<const Composition> composition) {
  if (composition == nullptr) {
    return absl::FailedPreconditionError(
        "the recipe is the base model alone, which is always in memory");
  }
  const Digest recipe = composition->recipe;
  MutexLock lock(&mu_);
  if (pinned_.size() >= kMaxPinned && pinned_.count(recipe) == 0) {
    return absl::ResourceExhaustedError(absl::StrCat(
        kMaxPinned, " recipes are pinned, the most there may be; unpin one"));
  }
  pinned_[recipe] = {resolved, std::move(composition)};
  return absl::OkStatus();
}

absl::StatusOr<v1::ResolvedRecipe> PinnedRecipes::Unpin(const Digest& recipe) {
  // Released after the lock: the last reference may free gigabytes.
  Pinned pinned;
  MutexLock lock(&mu_);
  const auto it = pinned_.find(recipe);
  if (it == pinned_.end()) {
    return absl::NotFoundError(
        absl::StrCat("no recipe ", recipe.ToString(), " is pinned"));
  }
  pinned = std::move(it->second);
  pinned_.erase(it);
  return pinned.resolved;
}

std::map<Digest, v1::ResolvedRecipe> PinnedRecipes::All() const {
  MutexLock lock(&mu_);
  std::map<Digest, v1::ResolvedRecipe> all;
  for (const auto& [digest, pinned] : pinned_) {
    all.emplace(digest, pinned.resolved);
  }
  return all;
}

}  // namespace stockpot
