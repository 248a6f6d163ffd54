#include "server/saved_recipes.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "base/status_macros.h"
#include "registry/adapter_ref.h"
#include "registry/recipe_store.h"
#include "server/adapter_proto.h"

namespace stockpot {

namespace {

constexpr size_t kMaxRefBytes = 512;

// `recipe` as it is saved: what names and defaults meant, written out, and the
// skills in the order of their digests. Reorders `resolved` likewise.
v1::Recipe Canonical(const v1::Recipe& recipe, v1::ResolvedRecipe* resolved) {
  std::vector<int> order(recipe.skills_size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return resolved->skills(a).digest() < resolved->skills(b).digest();
  });
  v1::Recipe canonical = recipe;
  canonical.clear_skills();
  v1::ResolvedRecipe sorted = *resolved;
  sorted.clear_skills();
  for (const int i : order) {
    v1::Skill* skill = canonical.add_skills();
    *skill = recipe.skills(i);
    skill->set_adapter(absl::StrCat("sha256:", resolved->skills(i).digest()));
    skill->set_weight(resolved->skills(i).weight());
    *sorted.add_skills() = resolved->skills(i);
  }
  if (canonical.method_case() == v1::Recipe::METHOD_NOT_SET) {
    canonical.mutable_cat();
  }
  *resolved = std::move(sorted);
  return canonical;
}

absl::StatusOr<v1::SavedRecipe> ToSavedRecipe(const RecipeRecord& record) {
  v1::SavedRecipe out;
  if (!out.mutable_recipe()->ParseFromString(record.recipe) ||
      !out.mutable_resolved()->ParseFromString(record.resolved)) {
    return absl::DataLossError(
        absl::StrCat("the saved recipe \"", record.name, "@", record.version,
                     "\" cannot be read; delete it and save it again"));
  }
  out.set_name(record.name);
  out.set_version(record.version);
  out.mutable_aliases()->Add(record.aliases.begin(), record.aliases.end());
  out.mutable_labels()->insert(record.labels.begin(), record.labels.end());
  out.set_description(record.description);
  *out.mutable_create_time() = ToWire(record.create_time);
  return out;
}

// The digests of `adapters`, each once.
std::vector<Digest> DigestsOf(const std::vector<ResolvedAdapter>& adapters) {
  std::vector<Digest> digests;
  for (const ResolvedAdapter& adapter : adapters) {
    digests.push_back(adapter.digest);
  }
  std::sort(digests.begin(), digests.end());
  digests.erase(std::unique(digests.begin(), digests.end()), digests.end());
  return digests;
}

}  // namespace

absl::Status SaveRecipe(const v1::SaveRecipeRequest& request,
                        const Serving& serving, v1::SavedRecipe* response) {
  RETURN_IF_ERROR(ValidateName(request.name()));
  // Its pins keep the adapters until the store has noted their use.
  ASSIGN_OR_RETURN(ResolvedCallRecipe resolved,
                   ResolveRecipe(request.recipe(), serving));
  RecipeSpec spec;
  spec.name = request.name();
  if (request.has_version()) {
    spec.version = request.version();
  }
  spec.recipe = Canonical(request.recipe(), &resolved.wire).SerializeAsString();
  spec.resolved = resolved.wire.SerializeAsString();
  spec.adapters = DigestsOf(resolved.adapters);
  spec.labels.insert(request.labels().begin(), request.labels().end());
  spec.description = request.description();
  ASSIGN_OR_RETURN(const RecipeRecord record, serving.recipes->Save(spec));
  ASSIGN_OR_RETURN(*response, ToSavedRecipe(record));
  return absl::OkStatus();
}

absl::Status GetRecipe(const v1::GetRecipeRequest& request,
                       const Serving& serving, v1::SavedRecipe* response) {
  ASSIGN_OR_RETURN(const AdapterRef ref, AdapterRef::Parse(request.name()));
  ASSIGN_OR_RETURN(const RecipeRecord record, serving.recipes->Get(ref));
  ASSIGN_OR_RETURN(*response, ToSavedRecipe(record));
  return absl::OkStatus();
}

absl::Status ListRecipes(const v1::ListRecipesRequest& request,
                         const Serving& serving,
                         v1::ListRecipesResponse* response) {
  RecipeListOptions options;
  options.name_prefix = request.name_prefix();
  options.labels.insert(request.labels().begin(), request.labels().end());
  options.all_versions = request.all_versions();
  options.page_size = request.page_size();
  options.page_token = request.page_token();
  ASSIGN_OR_RETURN(const RecipePage page, serving.recipes->List(options));
  for (const RecipeRecord& record : page.records) {
    ASSIGN_OR_RETURN(*response->add_recipes(), ToSavedRecipe(record));
  }
  response->set_next_page_token(page.next_page_token);
  return absl::OkStatus();
}

absl::Status DeleteRecipe(const v1::DeleteRecipeRequest& request,
                          const Serving& serving) {
  ASSIGN_OR_RETURN(const AdapterRef ref, AdapterRef::Parse(request.name()));
  return serving.recipes->Delete(ref);
}

absl::Status SetRecipeAlias(const v1::SetAliasRequest& request,
                            const Serving& serving, v1::SavedRecipe* response) {
  ASSIGN_OR_RETURN(const RecipeRecord record,
                   serving.recipes->SetAlias(request.name(), request.alias(),
                                             request.version()));
  ASSIGN_OR_RETURN(*response, ToSavedRecipe(record));
  return absl::OkStatus();
}

absl::Status CheckSavedRecipe(const std::string& name) {
  if (name.empty() || name.size() > kMaxRefBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("saved_recipe has ", name.size(), " bytes; expected 1 to ",
                     kMaxRefBytes));
  }
  if (const absl::StatusOr<AdapterRef> ref = AdapterRef::Parse(name);
      !ref.ok()) {
    return absl::Status(ref.status().code(),
                        absl::StrCat("saved_recipe: ", ref.status().message()));
  }
  return absl::OkStatus();
}

absl::StatusOr<ResolvedCallRecipe> ResolveSavedRecipe(const std::string& name,
                                                      const Serving& serving) {
  RETURN_IF_ERROR(CheckSavedRecipe(name));
  ASSIGN_OR_RETURN(const AdapterRef ref, AdapterRef::Parse(name));
  ASSIGN_OR_RETURN(const RecipeRecord record, serving.recipes->Get(ref));
  ASSIGN_OR_RETURN(const v1::SavedRecipe saved, ToSavedRecipe(record));
  absl::StatusOr<ResolvedCallRecipe> resolved =
      ResolveRecipe(saved.recipe(), serving);
  if (!resolved.ok()) {
    return absl::Status(
        resolved.status().code(),
        absl::StrCat("saved recipe \"", record.name, "@", record.version,
                     "\": ", resolved.status().message()));
  }
  // A digest may have several names; these are the ones that were asked for.
  const int num_skills =
      std::min(saved.resolved().skills_size(), resolved->wire.skills_size());
  for (int i = 0; i < num_skills; ++i) {
    const v1::ResolvedSkill& skill = saved.resolved().skills(i);
    if (skill.digest() == resolved->wire.skills(i).digest()) {
      resolved->wire.mutable_skills(i)->set_name(skill.name());
      resolved->wire.mutable_skills(i)->set_version(skill.version());
    }
  }
  return resolved;
}

}  // namespace stockpot
