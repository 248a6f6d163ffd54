// An AdapterMerger turns the skills of a recipe into one adapter of its own,
// for the methods that are more than coefficients (IsDerived()).

#ifndef STOCKPOT_MERGE_ADAPTER_MERGER_H_
#define STOCKPOT_MERGE_ADAPTER_MERGER_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "base/stop_check.h"
#include "merge/adapter.h"
#include "merge/recipe.h"

namespace stockpot {

// Thread-safe.
class AdapterMerger {
 public:
  virtual ~AdapterMerger() = default;

  // Bytes that the result of Merge() would hold at most, known without merging.
  //
  // Errors: FailedPrecondition naming the module if the skills do not go
  // together: ranks that must be equal are not, or the result's rank would be
  // beyond MergeOptions::kMaxRank.
  virtual absl::StatusOr<int64_t> MergedBytes(
      const Recipe& recipe,
      absl::Span<const std::shared_ptr<const Adapter>> adapters) = 0;

  // One adapter that is the recipe: its digest is the recipe's, its scaling 1
  // in the modules that it adapts. `adapters` are the recipe's, in its order.
  // Takes from milliseconds to minutes; see docs/composition.md. `stopped` is
  // asked before each module, and in long ones every few milliseconds.
  //
  // Errors: those of MergedBytes(); FailedPrecondition if the result is not
  // finite; ResourceExhausted (memory), Internal (libtorch); Cancelled once
  // stopped.
  virtual absl::StatusOr<std::shared_ptr<const Adapter>> Merge(
      const Recipe& recipe,
      absl::Span<const std::shared_ptr<const Adapter>> adapters,
      const StopCheck& stopped) = 0;
};

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_ADAPTER_MERGER_H_
