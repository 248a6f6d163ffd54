#include "client/command_resident.h"

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include <grpcpp/client_context.h>

#include "proto/stockpot/v1/admin.grpc.pb.h"

#include "base/status_macros.h"
#include "client/generate_request.h"
#include "client/json_text.h"
#include "client/recipe_options.h"
#include "client/table.h"
#include "client/text.h"

namespace stockpot {
namespace {

struct ResidentOptions {
  bool json = false;
};

struct WarmOptions {
  GenerateOptions mix;  // Only what FillChoice() reads.
};

struct UnpinOptions {
  std::string digest;
};

// "facts@1=0.5, json@2=1", or the digest of a recipe that only the cache knows.
std::string SkillsText(const v1::ResolvedRecipe& recipe) {
  std::string text;
  for (const v1::ResolvedSkill& skill : recipe.skills()) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", skill.name(), "@",
                    skill.version(), "=", skill.weight());
  }
  return text;
}

absl::Status RunResident(const ResidentOptions& options,
                         const Connection& connection, Terminal& terminal) {
  const auto stub = v1::AdminService::NewStub(connection.channel());
  v1::ListResidentResponse resident;
  RETURN_IF_ERROR(connection.Call([&](grpc::ClientContext* context) {
    return stub->ListResident(context, v1::ListResidentRequest(), &resident);
  }));
  if (options.json) {
    terminal.out << ToLine(ToJson(resident)) << '\n';
    return absl::OkStatus();
  }
  Table table({"KIND", "WHAT", "BYTES", "USES"});
  for (const v1::ResidentAdapter& adapter : resident.adapters()) {
    table.AddRow({"adapter",
                  absl::StrCat(adapter.name(), "@", adapter.version()),
                  FormatBytes(adapter.bytes()), absl::StrCat(adapter.uses())});
  }
  for (const v1::ResidentComposition& composition : resident.compositions()) {
    const v1::ResolvedRecipe& recipe = composition.recipe();
    table.AddRow(
        {composition.pinned() ? "pinned" : "recipe",
         absl::StrCat(recipe.digest(), recipe.skills().empty() ? "" : "  ",
                      SkillsText(recipe)),
         FormatBytes(composition.bytes()), absl::StrCat(composition.uses())});
  }
  table.Print(terminal.out);
  return absl::OkStatus();
}

absl::Status RunWarm(const WarmOptions& options, const Connection& connection,
                     Terminal& terminal) {
  const auto stub = v1::AdminService::NewStub(connection.channel());
  v1::WarmRecipeRequest request;
  RETURN_IF_ERROR(FillChoiceOf(options.mix, request));
  v1::ResolvedRecipe resolved;
  RETURN_IF_ERROR(connection.Call([&](grpc::ClientContext* context) {
    return stub->WarmRecipe(context, request, &resolved);
  }));
  terminal.out << resolved.digest() << '\n';
  return absl::OkStatus();
}

absl::Status RunPin(const WarmOptions& options, const Connection& connection,
                    Terminal& terminal) {
  const auto stub = v1::AdminService::NewStub(connection.channel());
  v1::PinRecipeRequest request;
  RETURN_IF_ERROR(FillChoiceOf(options.mix, request));
  v1::ResolvedRecipe resolved;
  RETURN_IF_ERROR(connection.Call([&](grpc::ClientContext* context) {
    return stub->PinRecipe(context, request, &resolved);
  }));
  terminal.out << resolved.digest() << '\n';
  return absl::OkStatus();
}

absl::Status RunUnpin(const UnpinOptions& options, const Connection& connection,
                      Terminal& terminal) {
  const auto stub = v1::AdminService::NewStub(connection.channel());
  v1::UnpinRecipeRequest request;
  request.set_digest(options.digest);
  v1::ResolvedRecipe resolved;
  RETURN_IF_ERROR(connection.Call([&](grpc::ClientContext* context) {
    return stub->UnpinRecipe(context, request, &resolved);
  }));
  terminal.err << "unpinned; it stays in memory until its room is needed\n";
  return absl::OkStatus();
}

void AddMix(CLI::App* command, GenerateOptions& mix) {
  AddRecipeOptions(command, mix);
  AddSavedRecipeOption(command, mix);
}

}  // namespace

void AddResidentCommands(CLI::App& app, Arguments& arguments) {
  CLI::App* resident = app.add_subcommand(
      "resident", "What the server holds in memory; warm and pin recipes");
  resident->require_subcommand(1);
  resident->fallthrough();

  auto list = std::make_shared<ResidentOptions>();
  CLI::App* command =
      AddCommand(*resident, arguments, "list",
                 "Adapters and recipes in memory, and how many use each",
                 "  stockpot resident list\n", list, RunResident);
  command->add_flag("--json", list->json, "Print a JSON object");

  auto warm = std::make_shared<WarmOptions>();
  command = AddCommand(*resident, arguments, "warm",
                       "Build a recipe before the first request asks for it",
                       "  stockpot resident warm --recipe facts=1,json=0.8 "
                       "--method ties\n",
                       warm, RunWarm);
  AddMix(command, warm->mix);

  auto pin = std::make_shared<WarmOptions>();
  command = AddCommand(
      *resident, arguments, "pin", "Keep a recipe in memory; prints its digest",
      "  stockpot resident pin --saved-recipe mix@prod\n", pin, RunPin);
  AddMix(command, pin->mix);

  auto unpin = std::make_shared<UnpinOptions>();
  command = AddCommand(*resident, arguments, "unpin", "Let a pinned recipe go",
                       "  stockpot resident unpin 0123...\n", unpin, RunUnpin);
  command->add_option("DIGEST", unpin->digest, "As pin printed it")->required();
}

}  // namespace stockpot
