#include "client/command_recipes.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <grpcpp/client_context.h>

#include "proto/stockpot/v1/registry.grpc.pb.h"

#include "base/status_macros.h"
#include "client/adapter_text.h"
#include "client/command_soups.h"
#include "client/json_text.h"
#include "client/recipe_options.h"
#include "client/table.h"
#include "client/text.h"

namespace stockpot {
namespace {

constexpr int kPageSize = 100;

struct SaveOptions {
  std::string name;
  std::optional<int64_t> version;
  std::vector<std::string> labels;  // "key=value"
  std::string description;
  std::string alias;    // Empty: none.
  GenerateOptions mix;  // Only what FillRecipe() reads.
  bool json = false;
};

struct ListOptions {
  std::string prefix;
  std::vector<std::string> labels;  // "key=value"; all must match.
  bool all_versions = false;
  bool json = false;
};

struct ShowOptions {
  std::string recipe;
  bool json = false;
};

struct RemoveOptions {
  std::string recipe;
  bool yes = false;  // Do not ask.
};

struct AliasOptions {
  std::string name;
  std::string alias;
  int64_t version = 0;
  bool remove = false;  // `version` is not used then.
};

std::string VersionedName(const v1::SavedRecipe& recipe) {
  return absl::StrCat(recipe.name(), "@", recipe.version());
}

// "facts@1=1,json@2=0.8"
std::string SkillText(const v1::SavedRecipe& recipe) {
  return absl::StrJoin(recipe.resolved().skills(), ",",
                       [](std::string* out, const v1::ResolvedSkill& skill) {
                         absl::StrAppend(out, skill.name(), "@",
                                         skill.version(), "=", skill.weight());
                       });
}

absl::StatusOr<v1::SavedRecipe> GetRecipe(const std::string& name,
                                          const Connection& connection) {
  const auto stub = v1::RegistryService::NewStub(connection.channel());
  v1::GetRecipeRequest request;
  request.set_name(name);
  v1::SavedRecipe response;
  RETURN_IF_ERROR(connection.Call([&](grpc::ClientContext* context) {
    return stub->GetRecipe(context, request, &response);
  }));
  return response;
}

absl::StatusOr<v1::SavedRecipe> SetAlias(const std::string& name,
                                         const std::string& alias,
                                         int64_t version,
                                         const Connection& connection) {
  const auto stub = v1::RegistryService::NewStub(connection.channel());
  v1::SetAliasRequest request;
  request.set_name(name);
  request.set_alias(alias);
  request.set_version(version);
  v1::SavedRecipe response;
  RETURN_IF_ERROR(connection.Call([&](grpc::ClientContext* context) {
    return stub->SetRecipeAlias(context, request, &response);
  }));
  return response;
}

absl::Status RunSave(const SaveOptions& options, const Connection& connection,
                     Terminal& terminal) {
  v1::SaveRecipeRequest request;
  request.set_name(options.name);
  if (options.version.has_value()) {
    request.set_version(*options.version);
  }
  RETURN_IF_ERROR(FillRecipe(options.mix, *request.mutable_recipe()));
  for (const std::string& label : options.labels) {
    ASSIGN_OR_RETURN(const auto pair, ParseKeyValue(label));
    (*request.mutable_labels())[pair.first] = pair.second;
  }
  request.set_description(options.description);
  return SaveRecipe(request, options.alias, options.json, connection, terminal);
}

// Calls `consume` with every recipe of every page.
absl::Status ForEachRecipe(
    v1::ListRecipesRequest request, const Connection& connection,
    const std::function<void(const v1::SavedRecipe&)>& consume) {
  const auto stub = v1::RegistryService::NewStub(connection.channel());
  while (true) {
    v1::ListRecipesResponse response;
    RETURN_IF_ERROR(connection.Call([&](grpc::ClientContext* context) {
      return stub->ListRecipes(context, request, &response);
    }));
    for (const v1::SavedRecipe& recipe : response.recipes()) {
      consume(recipe);
    }
    if (response.next_page_token().empty()) {
      return absl::OkStatus();
    }
    if (response.next_page_token() == request.page_token()) {
      return absl::InternalError("the server answers the same page again");
    }
    request.set_page_token(response.next_page_token());
  }
}

absl::Status RunList(const ListOptions& options, const Connection& connection,
                     Terminal& terminal) {
  v1::ListRecipesRequest request;
  request.set_page_size(kPageSize);
  request.set_name_prefix(options.prefix);
  request.set_all_versions(options.all_versions);
  for (const std::string& label : options.labels) {
    ASSIGN_OR_RETURN(const auto pair, ParseKeyValue(label));
    (*request.mutable_labels())[pair.first] = pair.second;
  }
  if (options.json) {
    return ForEachRecipe(std::move(request), connection,
                         [&](const v1::SavedRecipe& recipe) {
                           terminal.out << ToLine(ToJson(recipe)) << '\n';
                         });
  }
  Table table({"NAME", "VERSION", "ALIASES", "METHOD", "SKILLS", "CREATED"},
              {false, true, false, false, false, false});
  int num_rows = 0;
  RETURN_IF_ERROR(ForEachRecipe(
      std::move(request), connection, [&](const v1::SavedRecipe& recipe) {
        ++num_rows;
        table.AddRow({recipe.name(), absl::StrCat(recipe.version()),
                      absl::StrJoin(recipe.aliases(), ","),
                      recipe.resolved().method(), SkillText(recipe),
                      TimeText(recipe.create_time())});
      }));
  if (num_rows == 0) {
    terminal.err << "no saved recipes; `stockpot recipe save` adds one\n";
    return absl::OkStatus();
  }
  table.Print(terminal.out);
  return absl::OkStatus();
}

absl::Status RunShow(const ShowOptions& options, const Connection& connection,
                     Terminal& terminal) {
  ASSIGN_OR_RETURN(const v1::SavedRecipe recipe,
                   GetRecipe(options.recipe, connection));
  if (options.json) {
    terminal.out << ToLine(ToJson(recipe)) << '\n';
    return absl::OkStatus();
  }
  Table table({"name", recipe.name()});
  table.AddRow({"version", absl::StrCat(recipe.version())});
  table.AddRow({"aliases", absl::StrJoin(recipe.aliases(), ", ")});
  table.AddRow({"digest", recipe.resolved().digest()});
  table.AddRow({"method", recipe.resolved().method()});
  for (const v1::ResolvedSkill& skill : recipe.resolved().skills()) {
    table.AddRow({"skill", absl::StrCat(skill.name(), "@", skill.version(), "=",
                                        skill.weight(), "  ", skill.digest())});
  }
  table.AddRow({"created", TimeText(recipe.create_time())});
  table.AddRow({"description", recipe.description()});
  table.Print(terminal.out);
  return absl::OkStatus();
}

absl::Status RunRemove(const RemoveOptions& options,
                       const Connection& connection, Terminal& terminal) {
  // An alias may move meanwhile: what is asked about is what goes.
  ASSIGN_OR_RETURN(const v1::SavedRecipe recipe,
                   GetRecipe(options.recipe, connection));
  const std::string name = VersionedName(recipe);
  if (!options.yes) {
    terminal.err << "delete recipe " << PrintableText(name) << "? [y/N] "
                 << std::flush;
    std::string answer;
    std::getline(terminal.in, answer);
    if (answer != "y" && answer != "Y" && answer != "yes") {
      return absl::CancelledError("nothing was deleted");
    }
  }
  const auto stub = v1::RegistryService::NewStub(connection.channel());
  v1::DeleteRecipeRequest request;
  request.set_name(name);
  v1::DeleteRecipeResponse response;
  RETURN_IF_ERROR(connection.Call([&](grpc::ClientContext* context) {
    return stub->DeleteRecipe(context, request, &response);
  }));
  terminal.out << JoinCells({absl::StrCat("deleted recipe ", name)}) << '\n';
  return absl::OkStatus();
}

absl::Status RunAlias(const AliasOptions& options, const Connection& connection,
                      Terminal& terminal) {
  const std::string alias = absl::StrCat(options.name, "@", options.alias);
  if (options.remove) {
    const auto stub = v1::RegistryService::NewStub(connection.channel());
    v1::DeleteAliasRequest request;
    request.set_name(options.name);
    request.set_alias(options.alias);
    v1::DeleteAliasResponse response;
    RETURN_IF_ERROR(connection.Call([&](grpc::ClientContext* context) {
      return stub->DeleteRecipeAlias(context, request, &response);
    }));
    terminal.out << "removed " << alias << '\n';
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(
      SetAlias(options.name, options.alias, options.version, connection)
          .status());
  terminal.out << alias << " -> " << options.name << "@" << options.version
               << '\n';
  return absl::OkStatus();
}

void AddSave(CLI::App& app, Arguments& arguments) {
  auto options = std::make_shared<SaveOptions>();
  CLI::App* command = AddCommand(
      app, arguments, "save", "Save a recipe under a name",
      "  stockpot recipe save mix --recipe facts=1,json@prod=0.8 --alias prod\n"
      "Names become digests: the recipe means the same for good. The adapters\n"
      "of a saved recipe cannot be deleted before it.\n",
      options, RunSave);
  command->add_option("NAME", options->name, "Its name")->required();
  command->add_option("--version", options->version,
                      "Its version [default: the highest ever plus 1]");
  AddRepeated(command, "--label", options->labels, "KEY=VALUE; repeatable");
  command->add_option("--description", options->description, "One paragraph");
  command->add_option("--alias", options->alias,
                      "Point NAME@ALIAS at the new version");
  command->add_flag("--json", options->json, "Print a JSON object");
  AddRecipeOptions(command, options->mix);
}

void AddRead(CLI::App& app, Arguments& arguments) {
  auto list = std::make_shared<ListOptions>();
  CLI::App* command = AddCommand(
      app, arguments, "list", "List the saved recipes",
      "  stockpot recipe list --prefix mi --all-versions\n", list, RunList);
  command->add_option("--prefix", list->prefix, "Only names that begin so");
  AddRepeated(command, "--label", list->labels,
              "Only with KEY=VALUE; repeatable, all must match");
  command->add_flag("--all-versions", list->all_versions,
                    "Not only the newest of each name");
  command->add_flag("--json", list->json, "Print a JSON object per line");

  auto show = std::make_shared<ShowOptions>();
  command =
      AddCommand(app, arguments, "show", "Show one saved recipe",
                 "  stockpot recipe show mix@prod --json\n", show, RunShow);
  command->add_option("NAME", show->recipe, "NAME, NAME@VERSION or NAME@ALIAS")
      ->required();
  command->add_flag("--json", show->json, "Print a JSON object");
}

void AddWrite(CLI::App& app, Arguments& arguments, bool may_ask) {
  auto remove = std::make_shared<RemoveOptions>();
  CLI::App* command =
      AddCommand(app, arguments, "rm", "Delete one version of a saved recipe",
                 "  stockpot recipe rm mix@1 --yes\n", remove, RunRemove);
  AddVersionToRemove(command, remove, remove->recipe, may_ask);

  auto alias = std::make_shared<AliasOptions>();
  command = AddCommand(app, arguments, "alias",
                       "Point NAME@ALIAS at a version, or remove it",
                       "  stockpot recipe alias mix prod 2\n"
                       "  stockpot recipe alias --rm mix prod\n",
                       alias, RunAlias);
  AddAliasArguments(command, alias, "The recipe");
}

}  // namespace

absl::Status SaveRecipe(const v1::SaveRecipeRequest& request,
                        const std::string& alias, bool as_json,
                        const Connection& connection, Terminal& terminal) {
  const auto stub = v1::RegistryService::NewStub(connection.channel());
  v1::SavedRecipe saved;
  RETURN_IF_ERROR(connection.Call([&](grpc::ClientContext* context) {
    return stub->SaveRecipe(context, request, &saved);
  }));
  if (!alias.empty()) {
    absl::StatusOr<v1::SavedRecipe> aliased =
        SetAlias(saved.name(), alias, saved.version(), connection);
    if (!aliased.ok()) {
      return absl::Status(
          aliased.status().code(),
          absl::StrCat(VersionedName(saved), " is saved, but its alias '",
                       alias, "' is not set: ", aliased.status().message()));
    }
    saved = *std::move(aliased);
  }
  if (as_json) {
    terminal.out << ToLine(ToJson(saved)) << '\n';
    return absl::OkStatus();
  }
  terminal.out << JoinCells({VersionedName(saved), saved.resolved().digest(),
                             saved.resolved().method(), SkillText(saved)})
               << '\n';
  return absl::OkStatus();
}

void AddRecipeCommands(CLI::App& app, Arguments& arguments, bool may_ask) {
  CLI::App* recipes =
      app.add_subcommand("recipe", "Save, show and remove recipes");
  recipes->require_subcommand(1);
  recipes->fallthrough();
  AddSave(*recipes, arguments);
  AddImportSoups(*recipes, arguments);
  AddRead(*recipes, arguments);
  AddWrite(*recipes, arguments, may_ask);
}

}  // namespace stockpot
