// What one forward pass may add to the base model's linear layers.
//
// Declared here, below merge/, so that the model knows nothing of adapters,
// recipes or how a delta was made.

#ifndef STOCKPOT_MODEL_DELTA_SET_H_
#define STOCKPOT_MODEL_DELTA_SET_H_

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "model/token_rows.h"

namespace stockpot {

// One skill's low-rank update of one linear module. Of the embedding, `a` has a
// column per token.
struct SkillDelta {
  at::Tensor a;  // [rank, in], the base model's dtype and device, contiguous.
  at::Tensor b;  // [rank, out], likewise.
};

// How much of one skill a mix takes on one module.
struct SkillShare {
  // 0 keeps the skill out exactly, even if its product with the row's
  // activations is not finite.
  float expand = 0;
  float shrink = 0;  // Of a joint mix only.
};

// The skills of a step side by side, for devices where every product is a
// launch. R is the sum of their ranks.
struct StackedDelta {
  at::Tensor a;       // [R, in]
  at::Tensor b;       // [R, out]
  at::Tensor expand;  // [mixes, R] float32
  at::Tensor shrink;  // [mixes, R] float32; undefined if no mix is joint.
  at::Tensor lane;    // [R] int64: the rank's place within its skill.
  at::Tensor joint;   // [mixes, 1] bool
};

// Low-rank updates of one linear module, shared by all rows of a step and mixed
// per row. With T_i = x a_i^T of skill i, a row adds
//   sum_i expand_i T_i b_i                        in a plain mix,
//   sum_i expand_i (sum_j shrink_j T_j) b_i       in a joint one.
//
// The cost of a step follows the number of distinct skills and of the rows that
// use each, not of recipes.
struct ModuleDelta {
  std::vector<SkillDelta> skills;
  std::vector<SkillShare> shares;  // [mixes, skills]; row 0 is all zero.
  // [mixes]; ranks of the skills that a joint mix uses are equal.
  std::vector<bool> joint;
  // Instead of `skills` and `shares` where the model is not on the CPU.
  StackedDelta stacked;

  // Beside the updates, a row may scale its inputs before W and the updates see
  // them, and its outputs, updates included, before a shift is added:
  //   y = gain o (W (input_gain o x) + updates) + shift.
  // float32 on the model's device, neutral (1, 1, 0) in rows of mixes that do
  // not; undefined where no mix does, which costs nothing.
  at::Tensor gain;        // [mixes, out]
  at::Tensor shift;       // [mixes, out]
  at::Tensor input_gain;  // [mixes, in]; only of BaseModule::reads_alone.

  // Rows of the weight W itself that some mixes replace, before anything else
  // is added; of the embedding and the head alone.
  std::vector<RowsDelta> replaced;

  bool empty() const { return skills.empty() && !stacked.a.defined(); }
  bool has_output_terms() const { return gain.defined() || shift.defined(); }
};

// Indexed by module (model/modules.h); empty where nothing is added.
using DeltaSet = std::vector<ModuleDelta>;

}  // namespace stockpot

#endif  // STOCKPOT_MODEL_DELTA_SET_H_
