#include "client/recipe_options.h"

#include <string>

#include "client/method_text.h"

namespace stockpot {

namespace {

// An option of a method: the flag, the field of its message, and what it is.
struct MethodFlag {
  const char* flag;
  const char* field;
  const char* what;
};

constexpr MethodFlag kMethodFlags[] = {
    {"--density", "density", "Share of entries kept, in (0, 1] [0.5]"},
    {"--epsilon", "epsilon", "della: density +- epsilon [0.1]"},
    {"--gamma", "gamma", "breadcrumbs: share of outliers dropped [0.01]"},
    {"--beta", "beta",
     "compress_then_merge: how far strong skills shape the bases [1]"},
    {"--sign-election", "sign_election", "total or frequency [total]"},
    {"--space", "space", "delta, factors or core [delta]"},
    {"--dialect", "dialect", "peft or mergekit [peft]"},
    {"--rule", "rule", "Within knots and the like: ties or dare [ties]"},
    {"--merge-seed", "seed", "Of random masks [0]"},
    {"--rank", "rank", "Of the result [the largest of the skills]"},
    {"--lambda", "lambda", "Multiplies the merged update [1]"},
};

void AddMethodOptions(CLI::App* command, MethodWords& words) {
  const std::string group = "Method";
  command
      ->add_option("--method", words.method,
                   "cat, linear, lorahub, svd, ties, dare, magnitude_prune, "
                   "della, breadcrumbs, knots, tsv, iso or "
                   "compress_then_merge [cat]")
      ->group(group);
  for (const MethodFlag& flag : kMethodFlags) {
    const std::string field = flag.field;
    command
        ->add_option_function<std::string>(
            flag.flag,
            [&words, field](const std::string& value) {
              words.options.emplace_back(field, value);
            },
            flag.what)
        ->group(group);
  }
  command
      ->add_flag_callback(
          "--elect-signs",
          [&words] { words.options.emplace_back("elect_signs", "true"); },
          "dare, della, breadcrumbs: elect signs as ties does")
      ->group(group);
  command->add_flag("--pico", words.pico, "Calibrate the skills first")
      ->group(group);
}

}  // namespace

void AddRecipeOptions(CLI::App* command, GenerateOptions& options) {
  const std::string group = "Recipe";
  AddRepeated(command, "--recipe", options.recipes, "As in facts=1,json=0.8")
      ->group(group);
  AddRepeated(command, "--skill", options.skills,
              "One skill, as in facts=1; repeatable")
      ->group(group);
  AddRepeated(command, "--module-weight", options.module_weights,
              "ADAPTER:GLOB=FACTOR for the modules that match; repeatable")
      ->group(group);
  command
      ->add_option("--recipe-json", options.recipe_json,
                   "A file: stockpot.v1.Recipe in Protobuf's JSON form")
      ->group(group);
  AddMethodOptions(command, options.method);
}

void AddSavedRecipeOption(CLI::App* command, GenerateOptions& options) {
  command
      ->add_option("--saved-recipe", options.saved_recipe,
                   "NAME, NAME@VERSION or NAME@ALIAS of a saved recipe")
      ->group("Recipe");
}

}  // namespace stockpot
