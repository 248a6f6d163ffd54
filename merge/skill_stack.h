// A SkillStack holds the factors of several adapters one below the other per
// module, so that a device multiplies by all of them at once.
//
// Not thread-safe.

#ifndef STOCKPOT_MERGE_SKILL_STACK_H_
#define STOCKPOT_MERGE_SKILL_STACK_H_

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

class SkillStack {
 public:
  SkillStack(int64_t num_modules, const LoadOptions& options)
      : options_(options), modules_(num_modules) {}

  // Makes `adapters` part of the stack, each given once. Throws c10::Error.
  void Hold(const std::vector<const Adapter*>& adapters);

  // Fills the stacked form of `deltas`, one entry per module, with mix row i +
  // 1 for compositions[i]. REQUIRES: Hold() had their adapters. Throws
  // c10::Error.
  void Mix(absl::Span<const std::shared_ptr<const Composition>> compositions,
           DeltaSet* deltas) const;

  // Memory of the factors held.
  int64_t bytes() const { return bytes_; }

 private:
  // An adapter in the stack, and where its ranks stand in each module.
  struct Slot {
    // Not the adapter itself: the stack must not pin what no call uses.
    Digest adapter;
    std::vector<int64_t> offsets;  // [modules]
    std::vector<int64_t> ranks;    // [modules]; 0: not adapted
  };
  struct ModuleSlab {
    at::Tensor a;     // [rank, in]
    at::Tensor b;     // [rank, out]
    at::Tensor lane;  // [rank] int64; see StackedDelta.
    int64_t rank = 0;
  };
  struct Shares {
    at::Tensor expand;  // Of all modules, [mixes, rank] each, one by one.
    at::Tensor shrink;
    at::Tensor joint;  // [mixes, 1]
    bool any_joint = false;
  };

  void Rebuild(const std::vector<const Adapter*>& adapters);
  Shares SharesOf(
      absl::Span<const std::shared_ptr<const Composition>> compositions) const;

  const LoadOptions options_;
  std::vector<Slot> slots_;
  std::vector<ModuleSlab> modules_;
  int64_t bytes_ = 0;
};

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_SKILL_STACK_H_
