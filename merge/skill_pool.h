// A SkillPool holds the factors of the adapters that a step needs, one below
// the other per module, and says how to mix them for each recipe of the step.
//
// The batch's cost follows the number of distinct adapters. Adapters stay in
// the pool between steps; the pool is rebuilt only when the batch needs one
// that is missing or uses less than half of what is there. Not thread-safe: the
// engine thread is the only user.

#ifndef STOCKPOT_MERGE_SKILL_POOL_H_
#define STOCKPOT_MERGE_SKILL_POOL_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include <ATen/core/Tensor.h>

#include "base/digest.h"
#include "merge/composition.h"
#include "model/base_model.h"
#include "model/delta_set.h"

namespace stockpot {

class SkillPool {
 public:
  SkillPool(int64_t num_modules, const LoadOptions& options)
      : options_(options), modules_(num_modules), deltas_(num_modules) {}

  // What to add in a step whose mix row i + 1 is compositions[i]; row 0 is the
  // base model. Valid until the next call. Throws c10::Error.
  const DeltaSet& Prepare(
      absl::Span<const std::shared_ptr<const Composition>> compositions);

  // Memory of the factors held.
  int64_t bytes() const { return bytes_; }

 private:
  // An adapter in the pool, and where its ranks stand in each module.
  struct Slot {
    // Not the adapter itself: the pool must not pin what no call uses.
    Digest adapter;
    std::vector<int64_t> offsets;  // [modules]
    std::vector<int64_t> ranks;    // [modules]; 0: not adapted
  };
  struct ModuleSlab {
    at::Tensor a;  // [rank, in]
    at::Tensor b;  // [rank, out]
    int64_t rank = 0;
  };

  void EnsureResident(
      absl::Span<const std::shared_ptr<const Composition>> compositions);
  void Rebuild(const std::vector<std::shared_ptr<const Adapter>>& adapters);
  void FillCoefficients(
      absl::Span<const std::shared_ptr<const Composition>> compositions);

  const LoadOptions options_;
  std::vector<Slot> slots_;
  std::vector<ModuleSlab> modules_;
  DeltaSet deltas_;
  std::vector<Digest> prepared_;  // Recipes whose mix is in deltas_.
  int64_t bytes_ = 0;
};

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_SKILL_POOL_H_
