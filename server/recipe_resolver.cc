#include "server/recipe_resolver.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/status_macros.h"
#include "registry/adapter_ref.h"
#include "server/merge_options.h"

namespace stockpot {

namespace {

constexpr size_t kMaxRefBytes = 512;

// `status` with the field it is about before its message.
absl::Status At(const std::string& field, const absl::Status& status) {
  return absl::Status(status.code(),
                      absl::StrCat(field, ": ", status.message()));
}

SkillSpec ToSpec(const v1::Skill& skill, const Digest& adapter) {
  SkillSpec spec;
  spec.adapter = adapter;
  spec.weight = skill.has_weight() ? skill.weight() : 1.0f;
  for (const v1::ModuleWeight& entry : skill.module_weights()) {
    spec.module_weights.push_back({entry.modules(), entry.weight()});
  }
  return spec;
}

}  // namespace

absl::Status CheckRecipe(const v1::Recipe& recipe) {
  if (recipe.skills_size() > static_cast<int>(Recipe::kMaxSkills)) {
    return absl::InvalidArgumentError(
        absl::StrCat("recipe.skills has ", recipe.skills_size(),
                     " entries; at most ", Recipe::kMaxSkills));
  }
  RETURN_IF_ERROR(ToMergeOptions(recipe).status());
  for (int i = 0; i < recipe.skills_size(); ++i) {
    const std::string field = absl::StrCat("recipe.skills[", i, "].adapter");
    const std::string& name = recipe.skills(i).adapter();
    if (name.empty() || name.size() > kMaxRefBytes) {
      return absl::InvalidArgumentError(absl::StrCat(
          field, " has ", name.size(), " bytes; expected 1 to ", kMaxRefBytes));
    }
    const absl::StatusOr<AdapterRef> ref = AdapterRef::Parse(name);
    if (!ref.ok()) {
      return At(field, ref.status());
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<ResolvedCallRecipe> ResolveRecipe(const v1::Recipe& recipe,
                                                 const Serving& serving) {
  RETURN_IF_ERROR(CheckRecipe(recipe));
  ResolvedCallRecipe resolved;
  std::vector<SkillSpec> specs;
  for (int i = 0; i < recipe.skills_size(); ++i) {
    const v1::Skill& skill = recipe.skills(i);
    const std::string field = absl::StrCat("recipe.skills[", i, "].adapter");
    ASSIGN_OR_RETURN(const AdapterRef ref, AdapterRef::Parse(skill.adapter()));
    absl::StatusOr<ResolvedAdapter> adapter = serving.store->Resolve(ref);
    if (!adapter.ok()) {
      return At(field, adapter.status());
    }
    if (adapter->base_model_digest != serving.model.digest) {
      return absl::FailedPreconditionError(absl::StrCat(
          field, ": \"", skill.adapter(),
          "\" was registered for another base model than the resident \"",
          serving.model.name, "\"; register it again here"));
    }
    specs.push_back(ToSpec(skill, adapter->digest));
    v1::ResolvedSkill* out = resolved.wire.add_skills();
    out->set_name(adapter->name);
    out->set_version(adapter->version);
    out->set_digest(adapter->digest.ToHex());
    out->set_weight(specs.back().weight);
    resolved.adapters.push_back(*std::move(adapter));
  }
  ASSIGN_OR_RETURN(const MergeOptions options, ToMergeOptions(recipe));
  ASSIGN_OR_RETURN(resolved.recipe,
                   Recipe::Create(specs, options, serving.model.modules,
                                  serving.model.digest));
  resolved.wire.set_digest(resolved.recipe.digest().ToHex());
  resolved.wire.set_method(MethodText(resolved.recipe.options()));
  return resolved;
}

}  // namespace stockpot
