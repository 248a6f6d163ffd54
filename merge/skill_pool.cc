#include "merge/skill_pool.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include "merge/adapter_factors.h"

namespace stockpot {

void SkillPool::Rebuild(
    const std::vector<std::shared_ptr<const Adapter>>& adapters) {
  const size_t num_modules = modules_.size();
  slots_.clear();
  prepared_.clear();
  bytes_ = 0;
  std::vector<std::vector<at::Tensor>> a(num_modules);
  std::vector<std::vector<at::Tensor>> b(num_modules);
  std::vector<int64_t> rank(num_modules, 0);
  for (const std::shared_ptr<const Adapter>& adapter : adapters) {
    Slot slot{adapter->digest, std::vector<int64_t>(num_modules, 0),
              std::vector<int64_t>(num_modules, 0)};
    for (const ModuleFactors& factors : adapter->factors->modules) {
      const int64_t m = factors.module;
      slot.offsets[m] = rank[m];
      slot.ranks[m] = factors.a.size(0);
      rank[m] += factors.a.size(0);
      a[m].push_back(factors.a);
      b[m].push_back(factors.b);
    }
    slots_.push_back(std::move(slot));
  }
  for (size_t m = 0; m < num_modules; ++m) {
    modules_[m] = {};
    if (rank[m] == 0) {
      continue;
    }
    // One adapter's factors serve as they are, without a copy.
    modules_[m].a = a[m].size() == 1 ? a[m][0] : at::cat(a[m], 0);
    modules_[m].b = b[m].size() == 1 ? b[m][0] : at::cat(b[m], 0);
    modules_[m].rank = rank[m];
    if (a[m].size() > 1) {
      bytes_ +=
          static_cast<int64_t>(modules_[m].a.nbytes() + modules_[m].b.nbytes());
    }
  }
}

void SkillPool::EnsureResident(
    absl::Span<const std::shared_ptr<const Composition>> compositions) {
  std::vector<std::shared_ptr<const Adapter>> needed;
  absl::flat_hash_set<Digest> seen;
  for (const auto& composition : compositions) {
    for (const ComposedSkill& skill : composition->skills) {
      if (seen.insert(skill.adapter->digest).second) {
        needed.push_back(skill.adapter);
      }
    }
  }
  absl::flat_hash_set<Digest> resident;
  for (const Slot& slot : slots_) {
    resident.insert(slot.adapter);
  }
  const bool has_all = std::all_of(
      needed.begin(), needed.end(),
      [&](const auto& adapter) { return resident.contains(adapter->digest); });
  if (!has_all || slots_.size() > 2 * needed.size()) {
    Rebuild(needed);
  }
}

void SkillPool::FillCoefficients(
    absl::Span<const std::shared_ptr<const Composition>> compositions) {
  const int64_t mixes = static_cast<int64_t>(compositions.size()) + 1;
  int64_t total_rank = 0;
  for (const ModuleSlab& slab : modules_) {
    total_rank += slab.rank;
  }
  // One buffer for all modules: one transfer to the device.
  at::Tensor host = at::zeros({mixes * total_rank}, at::kFloat);
  float* values = host.data_ptr<float>();
  absl::flat_hash_map<Digest, const Slot*> slot_of;
  for (const Slot& slot : slots_) {
    slot_of.emplace(slot.adapter, &slot);
  }
  int64_t base = 0;
  for (size_t m = 0; m < modules_.size(); ++m) {
    const int64_t rank = modules_[m].rank;
    for (size_t i = 0; i < compositions.size(); ++i) {
      float* row = values + base + static_cast<int64_t>(i + 1) * rank;
      for (const ComposedSkill& skill : compositions[i]->skills) {
        const Slot& slot = *slot_of.at(skill.adapter->digest);
        std::fill_n(row + slot.offsets[m], slot.ranks[m],
                    (*skill.coefficients)[m]);
      }
    }
    base += mixes * rank;
  }
  const at::Tensor device = host.to(options_.device);
  base = 0;
  for (size_t m = 0; m < modules_.size(); ++m) {
    const ModuleSlab& slab = modules_[m];
    deltas_[m] = {};
    if (slab.rank > 0) {
      deltas_[m] = {
          slab.a, slab.b,
          device.narrow(0, base, mixes * slab.rank).view({mixes, slab.rank})};
    }
    base += mixes * slab.rank;
  }
}

const DeltaSet& SkillPool::Prepare(
    absl::Span<const std::shared_ptr<const Composition>> compositions) {
  EnsureResident(compositions);
  std::vector<Digest> recipes;
  for (const auto& composition : compositions) {
    recipes.push_back(composition->recipe);
  }
  if (recipes != prepared_ || prepared_.empty()) {
    FillCoefficients(compositions);
    prepared_ = std::move(recipes);
  }
  return deltas_;
}

}  // namespace stockpot
