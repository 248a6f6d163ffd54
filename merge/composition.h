// A Composition is a recipe ready to run: adapters in memory, and how much of
// each goes into each module.

#ifndef STOCKPOT_MERGE_COMPOSITION_H_
#define STOCKPOT_MERGE_COMPOSITION_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "base/digest.h"
#include "merge/adapter.h"

namespace stockpot {

struct ComposedSkill {
  std::shared_ptr<const Adapter> adapter;
  // [modules]: what multiplies this skill's part of the output; 0: nothing is
  // added. Of the recipe's own skills: weight times the adapter's scaling.
  const std::vector<float>* coefficients = nullptr;  // In Composition::mix.
  // [modules], of rank-one mixing: what multiplies A_i x before the skills'
  // products are added up. Null: each skill alone.
  const std::vector<float>* shrink = nullptr;  // In Composition::mix.
};

// What the composition cache keeps: numbers only, so that a cached recipe pins
// no adapter. In each module, either every skill is alone,
//   y += sum_i b_i B_i (A_i x),
// or, with shrink_by_skill, all go through one product of their common rank,
//   y += sum_i b_i B_i u,  u = sum_i a_i A_i x.
struct MixingCoefficients {
  std::vector<std::vector<float>> by_skill;  // b: [skills][modules]
  // a: [skills][modules]; empty: each skill alone.
  std::vector<std::vector<float>> shrink_by_skill;

  bool rank_one() const { return !shrink_by_skill.empty(); }
  int64_t bytes() const {
    return by_skill.empty() ? 0
                            : static_cast<int64_t>(
                                  (by_skill.size() + shrink_by_skill.size()) *
                                  by_skill[0].size() * sizeof(float));
  }
};

// Held by a sequence from admission to its end: while it lives, its adapters
// stay in memory whatever the caches evict.
struct Composition {
  Digest recipe;
  std::shared_ptr<const MixingCoefficients> mix;
  // By adapter digest; of a derived recipe, its one adapter.
  std::vector<ComposedSkill> skills;
};

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_COMPOSITION_H_
