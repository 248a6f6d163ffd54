// What the files that define commands share: what a parse fills in, and how a
// command and its options are added.

#ifndef STOCKPOT_CLIENT_COMMAND_ARGUMENTS_H_
#define STOCKPOT_CLIENT_COMMAND_ARGUMENTS_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "client/connection.h"
#include "client/terminal.h"

#include <CLI/CLI.hpp>

namespace stockpot {

using Command = std::function<absl::Status(const Connection&, Terminal&)>;

// What one parse of a command line fills in.
struct Arguments {
  std::string address = "localhost:50051";
  std::optional<double> timeout_seconds;
  bool is_probe = false;
  Command run;  // Of the command chosen; not set: nothing to call.
};

// Adds a command whose options fill an Options, which `run` then gets.
template <typename Options>
CLI::App* AddCommand(CLI::App& app, Arguments& arguments,
                     const std::string& name, const std::string& what,
                     const std::string& example,
                     const std::shared_ptr<Options>& options,
                     absl::Status (*run)(const Options&, const Connection&,
                                         Terminal&)) {
  CLI::App* command = app.add_subcommand(name, what);
  command->footer(absl::StrCat("Example:\n", example));
  command->callback([&arguments, options, run] {
    arguments.run = [options, run](const Connection& connection,
                                   Terminal& terminal) {
      return run(*options, connection, terminal);
    };
  });
  return command;
}

// An option that may be repeated and takes one value each time; otherwise it
// would swallow the arguments that follow.
template <typename T>
CLI::Option* AddRepeated(CLI::App* command, const std::string& name,
                         std::vector<T>& values, const std::string& what) {
  return command->add_option(name, values, what)->allow_extra_args(false);
}

// An argument that may be empty text and still be given, which CLI11's own
// std::optional may not.
inline CLI::Option* AddText(CLI::App* command, const std::string& name,
                            std::optional<std::string>& text,
                            const std::string& what) {
  return command->add_option_function<std::string>(
      name, [&text](const std::string& given) { text = given; }, what);
}

// The one version that `rm` deletes, and --yes, without which it asks: if
// nobody can answer, --yes must be given. `yes` is a field of *options.
template <typename Options>
void AddVersionToRemove(CLI::App* command,
                        const std::shared_ptr<Options>& options,
                        std::string& version, bool may_ask) {
  command->add_option("NAME@VERSION", version, "Which version")
      ->required()
      ->check([](const std::string& text) {
        return absl::StrContains(text, '@')
                   ? std::string()
                   : absl::StrCat("rm wants one version, as in ", text, "@1");
      });
  command->add_flag("-y,--yes", options->yes, "Do not ask");
  command->parse_complete_callback([options, may_ask] {
    if (!options->yes && !may_ask) {
      throw CLI::ValidationError("rm",
                                 "nobody to ask; --yes deletes without asking");
    }
  });
}

// NAME ALIAS VERSION, or --rm NAME ALIAS. `named` says what has the alias.
template <typename Options>
void AddAliasArguments(CLI::App* command,
                       const std::shared_ptr<Options>& options,
                       const std::string& named) {
  command->add_option("NAME", options->name, named)->required();
  command->add_option("ALIAS", options->alias, "As in prod")->required();
  CLI::Option* version =
      command->add_option("VERSION", options->version, "The version");
  command->add_flag("--rm", options->remove, "Remove the alias");
  command->parse_complete_callback([options, version] {
    if (options->remove == (version->count() > 0)) {
      throw CLI::ValidationError("alias", options->remove
                                              ? "--rm takes no VERSION"
                                              : "no VERSION given");
    }
  });
}

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_COMMAND_ARGUMENTS_H_
