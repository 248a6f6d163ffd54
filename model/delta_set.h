// What one forward pass may add to the base model's linear layers.
//
// Declared here, below merge/, so that the model knows nothing of adapters,
// recipes or how a delta was made.

#ifndef STOCKPOT_MODEL_DELTA_SET_H_
#define STOCKPOT_MODEL_DELTA_SET_H_

#include <vector>

#include <ATen/core/Tensor.h>

namespace stockpot {

// Low-rank updates of one linear module, shared by all rows of a step and mixed
// per row: y += ((x a^T) * coefficients[mix of the row]) b.
//
// The factors of every skill in the step stand one below the other, so the cost
// of a step follows the number of distinct skills, not of recipes.
struct ModuleDelta {
  at::Tensor a;  // [rank, in], the base model's dtype and device.
  at::Tensor b;  // [rank, out], likewise.
  // [mixes, rank] float32 on the device: weight times scaling of the skill that
  // owns the rank. Row 0 is all zero. A zero keeps the skill out exactly, even
  // if its product with the row's activations is not finite.
  at::Tensor coefficients;
};

// Indexed by module (model/modules.h); `a` is undefined where nothing is added.
using DeltaSet = std::vector<ModuleDelta>;

}  // namespace stockpot

#endif  // STOCKPOT_MODEL_DELTA_SET_H_
