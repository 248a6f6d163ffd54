// LoraExporter writes compositions as LoRA adapters in float32.
//
// A plain mix becomes its skills side by side, A' = [c_1 A_1; c_2 A_2; ...] and
// B' = [B_1, B_2, ...]; a joint one the two sums. Either is exactly what is
// served, up to the rounding of the products. Rows that skills replace become
// PEFT's trainable tokens; whole weights its saved modules, with the factors of
// that module folded in, as PEFT adapts none that it saves.

#ifndef STOCKPOT_MERGE_LORA_EXPORTER_H_
#define STOCKPOT_MERGE_LORA_EXPORTER_H_

#include <memory>
#include <string>

#include "merge/recipe_exporter.h"
#include "model/base_model.h"

namespace stockpot {

class LoraExporter : public RecipeExporter {
 public:
  // `model` must outlive the exporter and its exports. `base_model` is the name
  // that the config gives the base.
  LoraExporter(const BaseModel* model, std::string base_model)
      : model_(model), base_model_(std::move(base_model)) {}

  absl::StatusOr<std::unique_ptr<AdapterExport>> Export(
      std::shared_ptr<const Composition> composition) override;

 private:
  const BaseModel* const model_;
  const std::string base_model_;
};

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_LORA_EXPORTER_H_
