// A SkillPool says, for each step, what the adapters of its recipes add to each
// module and how much of each goes into each row.
//
// On the CPU it borrows the adapters' factors as they are. Elsewhere, where
// every product is a launch, it keeps them stacked one below the other; a stack
// stays between steps and is rebuilt only when a step needs an adapter that is
// missing or uses less than half of what is there. Not thread-safe: the engine
// thread is the only user.

#ifndef STOCKPOT_MERGE_SKILL_POOL_H_
#define STOCKPOT_MERGE_SKILL_POOL_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"

#include "base/digest.h"
#include "merge/composition.h"
#include "merge/skill_stack.h"
#include "model/base_model.h"
#include "model/delta_set.h"

namespace stockpot {

class SkillPool {
 public:
  // `stacked`: as for a device, also on the CPU; for tests.
  SkillPool(int64_t num_modules, const LoadOptions& options,
            bool stacked = false);

  // What to add in a step whose mix row i + 1 is compositions[i]; row 0 is the
  // base model. Valid until the next call. Throws c10::Error.
  const DeltaSet& Prepare(
      absl::Span<const std::shared_ptr<const Composition>> compositions);

  // Lets go of adapters that are borrowed; for when nothing runs.
  void Rest();

  // Memory of the factors that the pool itself holds.
  int64_t bytes() const { return stack_.bytes(); }

 private:
  void Borrow(absl::Span<const std::shared_ptr<const Composition>> compositions,
              const std::vector<const Adapter*>& adapters);

  const bool stacked_;
  const at::Device device_;
  SkillStack stack_;
  DeltaSet deltas_;
  std::vector<Digest> prepared_;  // Recipes whose mix is in deltas_.
};

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_SKILL_POOL_H_
