// A Composition is a recipe ready to run: adapters in memory, and how much of
// each goes into each module.

#ifndef STOCKPOT_MERGE_COMPOSITION_H_
#define STOCKPOT_MERGE_COMPOSITION_H_

#include <memory>
#include <vector>

#include "base/digest.h"
#include "merge/adapter.h"

namespace stockpot {

struct ComposedSkill {
  std::shared_ptr<const Adapter> adapter;
  // [modules]: recipe weight times the adapter's scaling; 0: nothing is added.
  const std::vector<float>* coefficients = nullptr;  // In Composition::mix.
  // [modules], in Composition::mix; null unless it is rank_one().
  const std::vector<float>* shrink = nullptr;
};

// What the composition cache keeps: numbers only, so that a cached recipe pins
// no adapter.
struct MixingCoefficients {
  std::vector<std::vector<float>> by_skill;  // [skills][modules]
  // [skills][modules]; empty: each skill alone (cat). Otherwise the skills'
  // updates are (sum_i by_skill_i B_i)(sum_j shrink_by_skill_j A_j).
  std::vector<std::vector<float>> shrink_by_skill;
  bool rank_one() const { return !shrink_by_skill.empty(); }
  int64_t bytes() const {
    return by_skill.empty()
               ? 0
               : static_cast<int64_t>(by_skill.size() * by_skill[0].size() *
                                      sizeof(float));
  }
};

// Held by a sequence from admission to its end: while it lives, its adapters
// stay in memory whatever the caches evict.
struct Composition {
  Digest recipe;
  std::shared_ptr<const MixingCoefficients> mix;
  std::vector<ComposedSkill> skills;  // By adapter digest.
};

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_COMPOSITION_H_
