#include "client/soups_recipe.h"

#include <cstddef>
#include <filesystem>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "base/status_macros.h"
#include "client/recipe_text.h"
#include "formats/mapped_file.h"
#include "formats/soups.h"

namespace stockpot {
namespace {

absl::Status InDirectory(const absl::Status& status, const std::string& path) {
  return absl::Status(status.code(),
                      absl::StrCat(path, ": ", status.message()));
}

absl::StatusOr<std::vector<SoupsLogit>> ReadLogits(const std::string& path) {
  // Mapped: the numbers are a thousandth of the file.
  ASSIGN_OR_RETURN(const MappedFile file,
                   MappedFile::Open(std::filesystem::path(path) /
                                    "adapter_model.safetensors"));
  absl::StatusOr<std::vector<SoupsLogit>> logits =
      ReadSoupsLogits(file.bytes());
  return logits.ok() ? std::move(logits) : InDirectory(logits.status(), path);
}

// What adapters are called in messages of MixSoups(): their places.
std::string Places(const std::vector<std::string>& directories) {
  std::string text;
  for (size_t i = 0; i < directories.size(); ++i) {
    absl::StrAppend(&text, i == 0 ? "" : ", ", i, " is ", directories[i]);
  }
  return text;
}

}  // namespace

absl::StatusOr<v1::Recipe> ReadSoupsRecipe(
    const std::vector<std::string>& directories) {
  if (directories.size() > kMaxSkills) {
    return absl::InvalidArgumentError(
        absl::StrCat("a recipe holds at most ", kMaxSkills, " skills; got ",
                     directories.size(), " directories"));
  }
  std::vector<std::vector<SoupsLogit>> adapters;
  for (const std::string& path : directories) {
    ASSIGN_OR_RETURN(std::vector<SoupsLogit> logits, ReadLogits(path));
    adapters.push_back(std::move(logits));
  }
  const absl::StatusOr<std::vector<SoupsShares>> modules = MixSoups(adapters);
  if (!modules.ok()) {
    return absl::Status(modules.status().code(),
                        absl::StrCat(modules.status().message(), " (adapter ",
                                     Places(directories), ")"));
  }
  v1::Recipe recipe;
  recipe.mutable_cat();
  for (size_t i = 0; i < directories.size(); ++i) {
    v1::Skill* skill = recipe.add_skills();
    skill->set_weight(1);
    for (const SoupsShares& shares : *modules) {
      v1::ModuleWeight* weight = skill->add_module_weights();
      weight->set_modules(shares.module_path);
      weight->set_weight(static_cast<float>(shares.weights[i]));
    }
  }
  return recipe;
}

}  // namespace stockpot
