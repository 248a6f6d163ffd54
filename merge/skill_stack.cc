#include "merge/skill_stack.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include "merge/adapter_factors.h"

namespace stockpot {

void SkillStack::Rebuild(const std::vector<const Adapter*>& adapters) {
  const size_t num_modules = modules_.size();
  slots_.clear();
  bytes_ = 0;
  std::vector<std::vector<at::Tensor>> a(num_modules);
  std::vector<std::vector<at::Tensor>> b(num_modules);
  std::vector<std::vector<at::Tensor>> lane(num_modules);
  std::vector<int64_t> rank(num_modules, 0);
  for (const Adapter* adapter : adapters) {
    Slot slot{adapter->digest, std::vector<int64_t>(num_modules, 0),
              std::vector<int64_t>(num_modules, 0)};
    for (const ModuleFactors& factors : adapter->factors->modules) {
      const int64_t m = factors.module;
      slot.offsets[m] = rank[m];
      slot.ranks[m] = factors.a.size(0);
      rank[m] += factors.a.size(0);
      a[m].push_back(factors.a);
      b[m].push_back(factors.b);
      lane[m].push_back(at::arange(factors.a.size(0), at::kLong));
    }
    slots_.push_back(std::move(slot));
  }
  for (size_t m = 0; m < num_modules; ++m) {
    modules_[m] = {};
    if (rank[m] > 0) {
      ModuleSlab& slab = modules_[m];
      slab = {at::cat(a[m], 0), at::cat(b[m], 0),
              at::cat(lane[m], 0).to(options_.device), rank[m]};
      bytes_ += static_cast<int64_t>(slab.a.nbytes() + slab.b.nbytes());
    }
  }
}

void SkillStack::Hold(const std::vector<const Adapter*>& adapters) {
  absl::flat_hash_set<Digest> held;
  for (const Slot& slot : slots_) {
    held.insert(slot.adapter);
  }
  const bool has_all =
      std::all_of(adapters.begin(), adapters.end(),
                  [&](const Adapter* a) { return held.contains(a->digest); });
  if (!has_all || slots_.size() > 2 * adapters.size()) {
    Rebuild(adapters);
  }
}

SkillStack::Shares SkillStack::SharesOf(
    absl::Span<const std::shared_ptr<const Composition>> compositions) const {
  const int64_t mixes = static_cast<int64_t>(compositions.size()) + 1;
  int64_t total_rank = 0;
  for (const ModuleSlab& slab : modules_) {
    total_rank += slab.rank;
  }
  absl::flat_hash_map<Digest, const Slot*> slot_of;
  for (const Slot& slot : slots_) {
    slot_of.emplace(slot.adapter, &slot);
  }
  // One buffer for all modules: one transfer to the device.
  Shares shares{at::zeros({mixes * total_rank}, at::kFloat),
                at::zeros({mixes * total_rank}, at::kFloat),
                at::zeros({mixes, 1}, at::kBool), false};
  float* expand = shares.expand.mutable_data_ptr<float>();
  float* shrink = shares.shrink.mutable_data_ptr<float>();
  for (size_t i = 0; i < compositions.size(); ++i) {
    const bool joint = compositions[i]->mix->rank_one();
    shares.joint.mutable_data_ptr<bool>()[i + 1] = joint;
    shares.any_joint = shares.any_joint || joint;
    int64_t base = 0;
    for (size_t m = 0; m < modules_.size(); ++m) {
      const int64_t rank = modules_[m].rank;
      for (const ComposedSkill& skill : compositions[i]->skills) {
        const Slot& slot = *slot_of.at(skill.adapter->digest);
        const int64_t at =
            base + static_cast<int64_t>(i + 1) * rank + slot.offsets[m];
        std::fill_n(expand + at, slot.ranks[m], (*skill.coefficients)[m]);
        if (skill.shrink != nullptr) {
          std::fill_n(shrink + at, slot.ranks[m], (*skill.shrink)[m]);
        }
      }
      base += mixes * rank;
    }
  }
  return shares;
}

void SkillStack::Mix(
    absl::Span<const std::shared_ptr<const Composition>> compositions,
    DeltaSet* deltas) const {
  const int64_t mixes = static_cast<int64_t>(compositions.size()) + 1;
  Shares shares = SharesOf(compositions);
  shares.expand = shares.expand.to(options_.device);
  shares.shrink = shares.shrink.to(options_.device);
  shares.joint = shares.joint.to(options_.device);
  int64_t base = 0;
  for (size_t m = 0; m < modules_.size(); ++m) {
    const ModuleSlab& slab = modules_[m];
    (*deltas)[m] = {};
    if (slab.rank == 0) {
      continue;
    }
    const int64_t size = mixes * slab.rank;
    StackedDelta& stacked = (*deltas)[m].stacked;
    stacked.a = slab.a;
    stacked.b = slab.b;
    stacked.expand =
        shares.expand.narrow(0, base, size).view({mixes, slab.rank});
    if (shares.any_joint) {
      stacked.shrink =
          shares.shrink.narrow(0, base, size).view({mixes, slab.rank});
      stacked.lane = slab.lane;
      stacked.joint = shares.joint;
    }
    base += size;
  }
}

}  // namespace stockpot
