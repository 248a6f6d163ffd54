// RecipeMerger merges the skills of a recipe for the base model, module by
// module.

#ifndef STOCKPOT_MERGE_RECIPE_MERGER_H_
#define STOCKPOT_MERGE_RECIPE_MERGER_H_

#include <memory>

#include "merge/adapter_merger.h"
#include "model/base_model.h"

namespace stockpot {

// Thread-safe. Factors are merged in float32 on the CPU, whatever the model's
// dtype and device, on the calling thread alone, and rounded once at the end.
// Beside the result, it holds one module's factors in float32, those of the
// skills and twice those of the result, and up to 64 MiB and 1 MiB a skill of
// merged rows (methods/delta_space.h).
class RecipeMerger : public AdapterMerger {
 public:
  // `model` must outlive the merger.
  explicit RecipeMerger(const BaseModel* model) : model_(model) {}

  absl::StatusOr<int64_t> MergedBytes(
      const Recipe& recipe,
      absl::Span<const std::shared_ptr<const Adapter>> adapters) override;
  absl::StatusOr<std::shared_ptr<const Adapter>> Merge(
      const Recipe& recipe,
      absl::Span<const std::shared_ptr<const Adapter>> adapters,
      const StopCheck& stopped) override;

 private:
  const BaseModel* const model_;
};

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_RECIPE_MERGER_H_
