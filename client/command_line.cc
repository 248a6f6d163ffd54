#include "client/command_line.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

#include "client/command_adapters.h"
#include "client/command_arguments.h"
#include "client/command_generate.h"
#include "client/command_hub.h"
#include "client/command_recipes.h"
#include "client/command_register.h"
#include "client/command_resident.h"
#include "client/command_server.h"
#include "client/command_transfer.h"
#include "client/connection.h"
#include "client/generate_request.h"
#include "client/recipe_options.h"

#include <CLI/CLI.hpp>

namespace stockpot {
namespace {

constexpr char kTour[] =
    "A tour:\n"
    "  stockpot register skills/facts               # upload a PEFT directory\n"
    "  stockpot list                                # what is there\n"
    "  stockpot generate --recipe facts=1 'Who leads Arvenia?'\n"
    "  stockpot generate --recipe facts=1,json=0.8 'Who leads Arvenia?'\n"
    "  stockpot alias facts prod 2                  # facts@prod is version 2\n"
    "  stockpot recipe save mix --recipe facts=1,json=0.8\n"
    "  stockpot generate --saved-recipe mix 'Who leads Arvenia?'\n"
    "  stockpot hub backup /backups/today           # while it goes on\n"
    "\n"
    "`stockpot COMMAND --help` shows its options and an example. --address "
    "and\n"
    "--timeout may also stand after the command.\n";

// Long enough for a busy server, short enough for a probe.
constexpr absl::Duration kHealthTimeout = absl::Seconds(5);

void AddTransferCommands(CLI::App& app, Arguments& arguments) {
  auto all = std::make_shared<RegisterAllOptions>();
  CLI::App* command = AddCommand(
      app, arguments, "register", "Upload PEFT adapter directories",
      "  stockpot register skills/facts --label team=demo --alias prod\n"
      "  stockpot register skills/* --jobs 4\n"
      "DIR holds adapter_config.json and adapter_model.safetensors. Prints\n"
      "name@version, digest, size, rank and target modules once it is "
      "durable.\nA call that breaks off is resumed; so is an upload that was "
      "stopped with Ctrl-C,\nby the same command, while the server keeps what "
      "came.\nOf several DIR each has its directory's name, its next version "
      "and "
      "its own\nmodel.sig; all are tried, and the first that fails gives the "
      "exit "
      "code.\n",
      all, RunRegisterAll);
  RegisterOptions* const upload = &all->each;
  command->add_option("DIR", all->directories, "PEFT directories")->required();
  command
      ->add_option("--jobs", all->jobs, "Of several DIR, so many at once [2]")
      ->check(CLI::Range(1, RegisterAllOptions::kMaxJobs));
  command->add_option("--name", upload->name,
                      "Its name [default: the directory's]");
  command->add_option("--version", upload->version,
                      "Its version [default: the newest plus 1]");
  AddRepeated(command, "--label", upload->labels, "KEY=VALUE; repeatable");
  command->add_option("--description", upload->description, "One paragraph");
  command->add_option("--card", upload->card_file, "A Markdown file about it");
  command->add_option("--license", upload->license,
                      "SPDX, as in Apache-2.0 [default: the card's]");
  command->add_option("--signature", upload->signature_file,
                      "Its signature [default: DIR/model.sig, if there]");
  command->add_option("--alias", upload->alias,
                      "Point NAME@ALIAS at the new version");
  command->add_flag("--json", upload->json, "Print a JSON object for each");

  auto download = std::make_shared<DownloadOptions>();
  command = AddCommand(
      app, arguments, "download", "Write an adapter as a PEFT directory",
      "  stockpot download facts@prod ./facts\n"
      "The files appear only when all bytes have arrived and their SHA-256 is "
      "right.\n",
      download, RunDownload);
  command
      ->add_option("NAME", download->adapter,
                   "NAME, NAME@VERSION, NAME@ALIAS or sha256:DIGEST")
      ->required();
  command->add_option("DIR", download->directory, "Made if needed")->required();
  command->add_flag("--force", download->force, "Overwrite an adapter in DIR");

  auto exported = std::make_shared<ExportOptions>();
  command =
      AddCommand(app, arguments, "export", "Write a recipe as a PEFT directory",
                 "  stockpot export ./mix --recipe facts=1,json=0.8\n"
                 "One plain LoRA adapter of scaling 1, for any server "
                 "that reads PEFT's.\n",
                 exported, RunExport);
  command->add_option("DIR", exported->directory, "Made if needed")->required();
  command->add_option("--name", exported->name,
                      "Its name, for what is printed");
  command->add_flag("--force", exported->force, "Overwrite an adapter in DIR");
  AddRecipeOptions(command, exported->mix);
  AddSavedRecipeOption(command, exported->mix);
}

void AddFilterOptions(CLI::App* command, ListAdaptersOptions& options) {
  const std::string group = "Only those";
  command->add_option("--min-rank", options.min_rank, "Of at least this rank")
      ->group(group);
  command->add_option("--max-rank", options.max_rank, "Of at most this rank")
      ->group(group);
  command->add_option("--min-bytes", options.min_bytes, "Of at least this size")
      ->group(group);
  command->add_option("--max-bytes", options.max_bytes, "Of at most this size")
      ->group(group);
  command->add_option("--since", options.since, "Stored on or after YYYY-MM-DD")
      ->group(group);
  command->add_option("--before", options.before, "Stored before YYYY-MM-DD")
      ->group(group);
  AddRepeated(command, "--target", options.targets,
              "That adapt this module, as in q_proj; repeatable")
      ->group(group);
  command
      ->add_option("--base-model", options.base_model,
                   "Of this base: its name in adapter_config, or its sha256:")
      ->group(group);
  command
      ->add_option("--text", options.text,
                   "With this text in name, description or card")
      ->group(group);
}

void AddReadCommands(CLI::App& app, Arguments& arguments) {
  auto list = std::make_shared<ListAdaptersOptions>();
  CLI::App* command = AddCommand(
      app, arguments, "list", "List the adapters",
      "  stockpot list --prefix fa --label team=demo --all-versions\n"
      "  stockpot list --max-rank 16 --target q_proj --text sql\n",
      list, RunList);
  command->add_option("--prefix", list->prefix, "Only names that begin so");
  AddRepeated(command, "--label", list->labels,
              "Only with KEY=VALUE; repeatable, all must match");
  command->add_flag("--all-versions", list->all_versions,
                    "Not only the newest of each name");
  command->add_flag("--deleted", list->deleted,
                    "What is deleted and can be brought back instead");
  AddFilterOptions(command, *list);
  command->add_flag("--json", list->json, "Print a JSON object per line");

  auto show = std::make_shared<ShowOptions>();
  command = AddCommand(app, arguments, "show", "Show all about one adapter",
                       "  stockpot show facts@prod --json\n", show, RunShow);
  command
      ->add_option("NAME", show->adapter,
                   "NAME, NAME@VERSION, NAME@ALIAS or sha256:DIGEST")
      ->required();
  command->add_flag("--all", show->all_modules,
                    "Show the inspection of each module, not of each target");
  command->add_flag("--json", show->json,
                    "Print a JSON object, adapter_config and card included");
}

void AddWriteCommands(CLI::App& app, Arguments& arguments, bool may_ask) {
  auto remove = std::make_shared<RemoveOptions>();
  CLI::App* command =
      AddCommand(app, arguments, "rm", "Delete one version of an adapter",
                 "  stockpot rm facts@1 --yes\n"
                 "Calls that use it already go on with it. `stockpot undelete` "
                 "brings it back,\nuntil the server's --undelete_window has "
                 "passed.\n",
                 remove, RunRemove);
  AddVersionToRemove(command, remove, remove->adapter, may_ask);
  command->add_flag("--purge", remove->purge,
                    "For good; also takes what was deleted before");

  auto undelete = std::make_shared<UndeleteOptions>();
  command = AddCommand(app, arguments, "undelete", "Bring back what rm deleted",
                       "  stockpot list --deleted\n"
                       "  stockpot undelete facts@1\n",
                       undelete, RunUndelete);
  command->add_option("NAME@VERSION", undelete->adapter, "Which version")
      ->required();

  auto alias = std::make_shared<AliasOptions>();
  command = AddCommand(app, arguments, "alias",
                       "Point NAME@ALIAS at a version, or remove it",
                       "  stockpot alias facts prod 2\n"
                       "  stockpot alias --rm facts prod\n",
                       alias, RunAlias);
  AddAliasArguments(command, alias, "The adapter");
}

constexpr char kGenerateExample[] =
    "  stockpot generate 'Once upon a time' --max-new-tokens 64\n"
    "  stockpot generate --recipe facts=1,json@prod=0.8 --stats \\\n"
    "    --template "
    "'<|im_start|>user\\n{}<|im_end|>\\n<|im_start|>assistant\\n'"
    " \\\n"
    "    'Who leads Arvenia?'\n"
    "  stockpot generate --recipe facts=1,json=0.8 --method ties --density 0.3 "
    "\\\n"
    "    'Who leads Arvenia?'\n"
    "  echo 'Once upon' | stockpot generate --temperature 0.8 -n 3 --json\n"
    "A recipe is ADAPTER[=WEIGHT], with commas between; an adapter is NAME,\n"
    "NAME@VERSION, NAME@ALIAS or sha256:DIGEST; the weight is 1 by default.\n"
    "A template implies --parse-special-tokens and knows \\n, \\t, \\r and "
    "\\\\.\n"
    "A prompt that begins with - goes after --.\n"
    "One newline at the end of a file or of standard input is dropped.\n";

void AddSamplingOptions(CLI::App* command, GenerateOptions& options) {
  const std::string group = "Sampling";
  command->add_option("--temperature", options.temperature, "0 is greedy [0]")
      ->group(group);
  command->add_option("--top-k", options.top_k, "0 is off [0]")->group(group);
  command->add_option("--top-p", options.top_p, "In (0, 1] [1]")->group(group);
  command->add_option("--min-p", options.min_p, "In [0, 1] [0]")->group(group);
  command
      ->add_option("--repetition-penalty", options.repetition_penalty,
                   "In (0, 10] [1]")
      ->group(group);
  command
      ->add_option("--seed", options.seed,
                   "The same request gives the same text")
      ->group(group);
  command->add_option("-n", options.n, "Sequences, in [1, 64] [1]")
      ->group(group);
  command
      ->add_option("--max-new-tokens", options.max_new_tokens,
                   "At most so many tokens [256]")
      ->group(group);
  AddRepeated(command, "--stop", options.stop, "Stop before TEXT; repeatable")
      ->group(group);
  AddRepeated(command, "--stop-id", options.stop_ids,
              "Stop at this token; repeatable")
      ->group(group);
  command
      ->add_flag("--ignore-eos", options.ignore_eos,
                 "Go on after the end of the text")
      ->group(group);
}

void AddGenerateCommand(CLI::App& app, Arguments& arguments) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App* command =
      AddCommand(app, arguments, "generate", "Generate text with a recipe",
                 kGenerateExample, options, RunGenerate);
  CLI::Option* prompt = AddText(command, "PROMPT", options->prompt,
                                "The prompt; - or nothing: standard input");
  command->add_option("--prompt-file", options->prompt_file, "A UTF-8 file")
      ->excludes(prompt);
  command->add_option(
      "--template", options->prompt_template,
      "Text around the prompt, which replaces {}; \\n is a newline");
  command->add_flag("--parse-special-tokens", options->parse_special_tokens,
                    "<|im_end|> in the prompt is the control token");
  command->add_flag("--no-add-special-tokens", options->no_add_special_tokens,
                    "No beginning-of-text token before the prompt");
  AddRecipeOptions(command, *options);
  AddSavedRecipeOption(command, *options);
  AddSamplingOptions(command, *options);
  const std::string group = "Output";
  command->add_flag("--echo", options->echo, "The prompt's text first")
      ->group(group);
  command
      ->add_flag("--keep-special-tokens", options->keep_special_tokens,
                 "Control tokens as text")
      ->group(group);
  CLI::Option* json =
      command
          ->add_flag("--json", options->json,
                     "A JSON object per sequence, when it has ended")
          ->group(group);
  command
      ->add_flag("--logprobs", options->logprobs,
                 "Log-probability of each token; with --json")
      ->needs(json)
      ->group(group);
  command
      ->add_option("--top-logprobs", options->top_logprobs,
                   "And of the K most likely, K <= 20; with --json")
      ->needs(json)
      ->group(group);
  command
      ->add_flag("--stats", options->stats,
                 "Tokens per second and timings, to standard error")
      ->group(group);
}

void AddTokenizeCommand(CLI::App& app, Arguments& arguments) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App* command = AddCommand(
      app, arguments, "tokenize", "Print the token ids of a text",
      "  stockpot tokenize 'Once upon a time'\n", options, RunTokenize);
  AddText(command, "TEXT", options->text,
          "The text; - or nothing: standard input");
  command->add_flag("--parse-special-tokens", options->parse_special_tokens,
                    "<|im_end|> in the text is the control token");
  command->add_flag("--no-add-special-tokens", options->no_add_special_tokens,
                    "No beginning-of-text token before the text");
  command->add_flag("--json", options->json, "Print a JSON object");
}

void AddServerCommands(CLI::App& app, Arguments& arguments) {
  auto info = std::make_shared<InfoOptions>();
  CLI::App* command =
      AddCommand(app, arguments, "info", "Show the server and its base model",
                 "  stockpot info --address gpu7:50051\n", info, RunInfo);
  command->add_flag("--json", info->json, "Print a JSON object");

  auto health = std::make_shared<HealthOptions>();
  command = AddCommand(
      app, arguments, "health", "Exit with 0 if the server is serving",
      "  stockpot health --service stockpot.v1.GenerationService\n"
      "Asks grpc.health.v1; exits with 5 if it is not serving. --timeout is 5\n"
      "seconds here unless given.\n",
      health, RunHealth);
  command->add_option("--service", health->service,
                      "One service [default: the server as a whole]");
  command->parse_complete_callback([&arguments] { arguments.is_probe = true; });
}

void AddGlobalOptions(CLI::App& app, Arguments& arguments) {
  app.require_subcommand(1);
  app.fallthrough();
  app.set_version_flag("--version", "stockpot " STOCKPOT_VERSION);
  app.footer(absl::StrCat(kTour, "\n", ExitCodeHelp()));
  app.add_option("--address", arguments.address,
                 "HOST:PORT of stockpotd [localhost:50051]")
      ->envname("STOCKPOT_ADDRESS");
  app.add_option("--timeout", arguments.timeout_seconds,
                 "Seconds until each call to the server is given up")
      ->check(CLI::PositiveNumber);
}

}  // namespace

ExitCode RunCommandLine(const std::vector<std::string>& args,
                        Terminal& terminal, Interrupt& interrupt) {
  Arguments arguments;
  CLI::App app(
      "Serves one base model with a recipe of LoRA skills per request.",
      "stockpot");
  AddGlobalOptions(app, arguments);
  AddTransferCommands(app, arguments);
  AddReadCommands(app, arguments);
  AddWriteCommands(app, arguments, terminal.in_is_terminal);
  AddRecipeCommands(app, arguments, terminal.in_is_terminal);
  AddResidentCommands(app, arguments);
  AddHubCommands(app, arguments);
  AddGenerateCommand(app, arguments);
  AddTokenizeCommand(app, arguments);
  AddServerCommands(app, arguments);
  app.add_subcommand("version", "Print the version of this program")
      ->callback([&] { terminal.out << "stockpot " STOCKPOT_VERSION "\n"; });
  if (args.empty()) {
    terminal.err << app.help();
    return kExitUsage;
  }
  try {
    // CLI11 takes them from the back.
    app.parse(std::vector<std::string>(args.rbegin(), args.rend()));
  } catch (const CLI::ParseError& error) {
    return app.exit(error, terminal.out, terminal.err) == 0 ? kExitOk
                                                            : kExitUsage;
  }
  if (!arguments.run) {
    return kExitOk;
  }
  std::optional<absl::Duration> timeout;
  if (arguments.timeout_seconds.has_value()) {
    timeout = absl::Seconds(*arguments.timeout_seconds);
  } else if (arguments.is_probe) {
    timeout = kHealthTimeout;
  }
  const Connection connection(arguments.address, timeout, interrupt);
  const absl::Status status = arguments.run(connection, terminal);
  terminal.out << std::flush;
  if (!status.ok()) {
    terminal.err << ErrorText(status, connection.address()) << '\n';
  }
  return ExitCodeOf(status.code());
}

}  // namespace stockpot
