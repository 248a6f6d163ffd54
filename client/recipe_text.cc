#include "client/recipe_text.h"

#include <cmath>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include <google/protobuf/util/json_util.h>

#include "base/status_macros.h"

namespace stockpot {
namespace {

absl::StatusOr<float> ParseWeight(absl::string_view text,
                                  absl::string_view whole) {
  float weight = 0;
  if (!absl::SimpleAtof(text, &weight) || !std::isfinite(weight) ||
      std::abs(weight) > kMaxWeight) {
    return absl::InvalidArgumentError(absl::StrCat(
        "weight '", text, "' in '", whole, "': expected a number in [-",
        kMaxWeight, ", ", kMaxWeight, "]"));
  }
  return weight;
}

}  // namespace

absl::Status AddSkill(absl::string_view text, v1::Recipe& recipe) {
  const size_t equals = text.rfind('=');
  const absl::string_view adapter =
      absl::StripAsciiWhitespace(text.substr(0, equals));
  if (adapter.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("skill '", text, "': expected ADAPTER or ADAPTER=WEIGHT, ",
                     "as in facts=0.8"));
  }
  float weight = 1;
  if (equals != absl::string_view::npos) {
    ASSIGN_OR_RETURN(
        weight,
        ParseWeight(absl::StripAsciiWhitespace(text.substr(equals + 1)), text));
  }
  if (recipe.skills_size() >= kMaxSkills) {
    return absl::InvalidArgumentError(
        absl::StrCat("a recipe holds at most ", kMaxSkills, " skills"));
  }
  v1::Skill* skill = recipe.add_skills();
  skill->set_adapter(std::string(adapter));
  skill->set_weight(weight);
  return absl::OkStatus();
}

absl::Status AddSkills(absl::string_view text, v1::Recipe& recipe) {
  if (absl::StripAsciiWhitespace(text).empty()) {
    return absl::OkStatus();
  }
  for (absl::string_view skill : absl::StrSplit(text, ',')) {
    RETURN_IF_ERROR(AddSkill(skill, recipe));
  }
  return absl::OkStatus();
}

absl::Status AddModuleWeight(absl::string_view text, v1::Recipe& recipe) {
  // The adapter itself may hold a colon: "sha256:<hex>".
  const size_t from = absl::StartsWith(text, "sha256:") ? 7 : 0;
  const size_t colon = text.find(':', from);
  const size_t equals = text.rfind('=');
  if (colon == absl::string_view::npos || equals == absl::string_view::npos ||
      colon == 0 || equals <= colon + 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("module weight '", text,
                     "': expected ADAPTER:GLOB=WEIGHT, as in "
                     "'facts:model.layers.*.mlp.*=0.5'"));
  }
  const absl::string_view adapter = text.substr(0, colon);
  ASSIGN_OR_RETURN(const float weight,
                   ParseWeight(text.substr(equals + 1), text));
  bool found = false;
  for (v1::Skill& skill : *recipe.mutable_skills()) {
    if (skill.adapter() == adapter) {
      v1::ModuleWeight* module_weight = skill.add_module_weights();
      module_weight->set_modules(
          std::string(text.substr(colon + 1, equals - colon - 1)));
      module_weight->set_weight(weight);
      found = true;
    }
  }
  if (!found) {
    return absl::InvalidArgumentError(absl::StrCat(
        "module weight '", text, "': the recipe has no skill '", adapter, "'"));
  }
  return absl::OkStatus();
}

absl::Status ParseRecipeJson(absl::string_view json, v1::Recipe& recipe) {
  const auto status =
      google::protobuf::util::JsonStringToMessage(std::string(json), &recipe);
  if (!status.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("not a stockpot.v1.Recipe in Protobuf's JSON form: ",
                     std::string(status.message())));
  }
  return absl::OkStatus();
}

}  // namespace stockpot
