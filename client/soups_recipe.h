// A LoRA-Soups CAT checkpoint on the caller's disk as a recipe.

#ifndef STOCKPOT_CLIENT_SOUPS_RECIPE_H_
#define STOCKPOT_CLIENT_SOUPS_RECIPE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "proto/stockpot/v1/recipe.pb.h"

namespace stockpot {

// Reads the trained numbers of the adapters in `directories`, each a PEFT
// directory with lora_learnable_weights, and returns a cat of them: one skill
// of weight 1 for each directory, in their order, with what the softmax across
// the adapters gives each module as its module weights. Skill.adapter is not
// set: under which names they are registered is the caller's to say.
//
// Errors: NotFound without a directory's weights; InvalidArgument for fewer
// than two or more than kMaxSkills directories, and as ReadSoupsLogits() and
// MixSoups(), with the directory's path.
absl::StatusOr<v1::Recipe> ReadSoupsRecipe(
    const std::vector<std::string>& directories);

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_SOUPS_RECIPE_H_
