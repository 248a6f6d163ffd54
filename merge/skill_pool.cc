#include "merge/skill_pool.h"

#include <utility>

#include "absl/container/flat_hash_map.h"

#include "merge/adapter_factors.h"
#include "merge/row_terms.h"

namespace stockpot {

namespace {

// The adapters of a step, each once.
std::vector<const Adapter*> AdaptersOf(
    absl::Span<const std::shared_ptr<const Composition>> compositions) {
  std::vector<const Adapter*> adapters;
  absl::flat_hash_map<Digest, int> seen;
  for (const auto& composition : compositions) {
    for (const ComposedSkill& skill : composition->skills) {
      if (seen.emplace(skill.adapter->digest, 0).second) {
        adapters.push_back(skill.adapter.get());
      }
    }
  }
  return adapters;
}

}  // namespace

SkillPool::SkillPool(int64_t num_modules, const LoadOptions& options,
                     bool stacked)
    : stacked_(stacked || options.device != at::kCPU),
      device_(options.device),
      stack_(num_modules, options),
      deltas_(num_modules) {}

void SkillPool::Borrow(
    absl::Span<const std::shared_ptr<const Composition>> compositions,
    const std::vector<const Adapter*>& adapters) {
  const size_t mixes = compositions.size() + 1;
  std::vector<bool> joint(mixes, false);
  for (size_t i = 0; i < compositions.size(); ++i) {
    joint[i + 1] = compositions[i]->mix->rank_one();
  }
  for (ModuleDelta& delta : deltas_) {
    delta = {};
    delta.joint = joint;
  }
  // [adapters][modules]: the skill's place in the module's list, or -1.
  absl::flat_hash_map<Digest, std::vector<int32_t>> place;
  for (const Adapter* adapter : adapters) {
    std::vector<int32_t>& places = place[adapter->digest];
    places.assign(deltas_.size(), -1);
    for (const ModuleFactors& factors : adapter->factors->modules) {
      ModuleDelta& delta = deltas_[factors.module];
      places[factors.module] = static_cast<int32_t>(delta.skills.size());
      delta.skills.push_back({factors.a, factors.b});
    }
  }
  for (ModuleDelta& delta : deltas_) {
    delta.shares.resize(mixes * delta.skills.size());
  }
  for (size_t i = 0; i < compositions.size(); ++i) {
    for (const ComposedSkill& skill : compositions[i]->skills) {
      const std::vector<int32_t>& places = place[skill.adapter->digest];
      for (size_t m = 0; m < deltas_.size(); ++m) {
        if (places[m] >= 0) {
          ModuleDelta& delta = deltas_[m];
          delta.shares[(i + 1) * delta.skills.size() + places[m]] = {
              .expand = (*skill.coefficients)[m],
              .shrink = skill.shrink == nullptr ? 0 : (*skill.shrink)[m]};
        }
      }
    }
  }
}

const DeltaSet& SkillPool::Prepare(
    absl::Span<const std::shared_ptr<const Composition>> compositions) {
  std::vector<Digest> recipes;
  for (const auto& composition : compositions) {
    recipes.push_back(composition->recipe);
  }
  if (recipes == prepared_ && !prepared_.empty()) {
    return deltas_;
  }
  prepared_.clear();
  const std::vector<const Adapter*> adapters = AdaptersOf(compositions);
  if (stacked_) {
    stack_.Hold(adapters);
    stack_.Mix(compositions, &deltas_);
  } else {
    Borrow(compositions, adapters);
  }
  SetRowTerms(compositions, device_, &deltas_);
  SetReplacedRows(compositions, &deltas_);
  prepared_ = std::move(recipes);
  return deltas_;
}

void SkillPool::Rest() {
  bool borrows = !stacked_;
  for (const ModuleDelta& delta : deltas_) {
    // These are an adapter's own also beside a stack.
    borrows = borrows || !delta.replaced.empty();
  }
  if (borrows) {
    prepared_.clear();
    deltas_.assign(deltas_.size(), {});
  }
}

}  // namespace stockpot
