// Recipes as the command line writes them: "facts=1,json@prod=0.8". Pure
// functions; what adapters exist and which modules a glob matches is for the
// server to say.

#ifndef STOCKPOT_CLIENT_RECIPE_TEXT_H_
#define STOCKPOT_CLIENT_RECIPE_TEXT_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "proto/stockpot/v1/recipe.pb.h"

namespace stockpot {

// Bounds of stockpot.v1.Recipe, checked here to fail before a call is made.
inline constexpr int kMaxSkills = 64;
inline constexpr float kMaxWeight = 100;

// Appends the skill "ADAPTER[=WEIGHT]" to `recipe`. ADAPTER is "name",
// "name@3", "name@prod" or "sha256:<hex>"; the weight is 1 if not given. Spaces
// around either are dropped.
//
// Errors: InvalidArgument if the adapter is empty, the weight is not a finite
// number in [-kMaxWeight, kMaxWeight], or there are kMaxSkills already.
absl::Status AddSkill(absl::string_view text, v1::Recipe& recipe);

// Appends each of the skills that commas separate. Empty text adds none.
// Errors: as AddSkill().
absl::Status AddSkills(absl::string_view text, v1::Recipe& recipe);

// Appends "ADAPTER:GLOB=WEIGHT" to the skills of `recipe` that name ADAPTER in
// the same words.
//
// Errors: InvalidArgument if the text has another form, the weight is out of
// bounds, or no skill names ADAPTER.
absl::Status AddModuleWeight(absl::string_view text, v1::Recipe& recipe);

// Replaces `recipe` by the one that `json` holds in Protobuf's JSON form.
// Errors: InvalidArgument.
absl::Status ParseRecipeJson(absl::string_view json, v1::Recipe& recipe);

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_RECIPE_TEXT_H_
