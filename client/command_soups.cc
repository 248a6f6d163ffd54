#include "client/command_soups.h"

#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

#include "proto/stockpot/v1/registry.pb.h"

#include "base/status_macros.h"
#include "client/adapter_directory.h"
#include "client/adapter_text.h"
#include "client/command_recipes.h"
#include "client/command_transfer.h"
#include "client/soups_recipe.h"
#include "client/text.h"

namespace stockpot {
namespace {

struct ImportSoupsOptions {
  std::string name;
  std::vector<std::string> directories;
  std::vector<std::string> labels;  // "key=value"; of recipe and adapters.
  std::string description;
  std::string alias;  // Of the recipe; empty: none.
  bool json = false;
};

// "mix" and "runs/adapter_0/" make "mix-adapter_0". Errors: InvalidArgument.
absl::StatusOr<std::string> AdapterName(const std::string& recipe,
                                        const std::string& directory) {
  std::error_code ignored;
  std::string name = absl::StrCat(
      recipe, "-",
      std::filesystem::canonical(directory, ignored).filename().string());
  if (!CheckAdapterName(name).ok()) {
    return absl::InvalidArgumentError(absl::StrCat(
        directory, ": its adapter would be called '", name,
        "', which is no name for one (a-z and 0-9, with . _ - inside); rename "
        "the directory, or choose another NAME"));
  }
  return name;
}

absl::Status RunImportSoups(const ImportSoupsOptions& options,
                            const Connection& connection, Terminal& terminal) {
  v1::SaveRecipeRequest request;
  request.set_name(options.name);
  request.set_description(options.description);
  for (const std::string& label : options.labels) {
    ASSIGN_OR_RETURN(const auto pair, ParseKeyValue(label));
    (*request.mutable_labels())[pair.first] = pair.second;
  }
  // All of the checkpoint is read before any of it is sent.
  ASSIGN_OR_RETURN(*request.mutable_recipe(),
                   ReadSoupsRecipe(options.directories));
  std::vector<RegisterOptions> adapters;
  for (const std::string& directory : options.directories) {
    RegisterOptions& adapter = adapters.emplace_back();
    adapter.directory = directory;
    ASSIGN_OR_RETURN(adapter.name, AdapterName(options.name, directory));
    adapter.labels = options.labels;
  }
  for (size_t i = 0; i < adapters.size(); ++i) {
    const RegisterOptions& adapter = adapters[i];
    ASSIGN_OR_RETURN(const v1::RegisterAdapterResponse registered,
                     RegisterDirectory(adapter, connection, terminal));
    const std::string name = VersionedName(registered.adapter());
    request.mutable_recipe()
        ->mutable_skills(static_cast<int>(i))
        ->set_adapter(name);
    terminal.err << "registered " << PrintableText(adapter.directory) << " as "
                 << PrintableText(name) << '\n';
  }
  return SaveRecipe(request, options.alias, options.json, connection, terminal);
}

}  // namespace

void AddImportSoups(CLI::App& recipes, Arguments& arguments) {
  auto options = std::make_shared<ImportSoupsOptions>();
  CLI::App* command = AddCommand(
      recipes, arguments, "import-soups",
      "Save the recipe that a LoRA-Soups CAT checkpoint holds",
      "  stockpot recipe import-soups mix out/adapter_0 out/adapter_1\n"
      "Each DIR is an adapter with lora_learnable_weights. Registers them as\n"
      "NAME-DIR and saves a cat of them: their weights in each module are the\n"
      "softmax of those numbers across the adapters.\n",
      options, RunImportSoups);
  command->add_option("NAME", options->name, "The recipe's name")->required();
  command->add_option("DIR", options->directories, "All of the checkpoint's")
      ->required()
      ->expected(2, -1);
  AddRepeated(command, "--label", options->labels,
              "KEY=VALUE, of recipe and adapters; repeatable");
  command->add_option("--description", options->description, "One paragraph");
  command->add_option("--alias", options->alias,
                      "Point NAME@ALIAS at the recipe");
  command->add_flag("--json", options->json, "Print a JSON object");
}

}  // namespace stockpot
