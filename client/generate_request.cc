#include "client/generate_request.h"

#include <iterator>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/status_macros.h"
#include "client/adapter_directory.h"
#include "client/recipe_text.h"
#include "client/text.h"

namespace stockpot {
namespace {

// Bound of stockpot.v1.Prompt.text.
constexpr size_t kMaxPromptBytes = size_t{4} << 20;
constexpr size_t kMaxRecipeBytes = size_t{4} << 20;

absl::Status TooLong() {
  return absl::InvalidArgumentError(
      absl::StrCat("the prompt is longer than ", kMaxPromptBytes, " bytes"));
}

absl::StatusOr<std::string> ReadStream(std::istream& in) {
  std::string text;
  for (std::istreambuf_iterator<char> it(in), end; it != end; ++it) {
    if (text.size() == kMaxPromptBytes) {
      return TooLong();
    }
    text.push_back(*it);
  }
  return text;
}

bool HasRecipe(const GenerateOptions& options) {
  return !options.recipes.empty() || !options.skills.empty() ||
         !options.recipe_json.empty();
}

void FillSampling(const GenerateOptions& options, v1::Sampling& sampling) {
  if (options.temperature.has_value()) {
    sampling.set_temperature(*options.temperature);
  }
  if (options.top_k.has_value()) {
    sampling.set_top_k(*options.top_k);
  }
  if (options.top_p.has_value()) {
    sampling.set_top_p(*options.top_p);
  }
  if (options.min_p.has_value()) {
    sampling.set_min_p(*options.min_p);
  }
  if (options.repetition_penalty.has_value()) {
    sampling.set_repetition_penalty(*options.repetition_penalty);
  }
  if (options.seed.has_value()) {
    sampling.set_seed(*options.seed);
  }
}

absl::Status FillLimits(const GenerateOptions& options, v1::Limits& limits) {
  if (options.max_new_tokens.has_value()) {
    limits.set_max_new_tokens(*options.max_new_tokens);
  }
  for (const std::string& stop : options.stop) {
    if (!IsUtf8(stop)) {
      return absl::InvalidArgumentError("a --stop string is not UTF-8");
    }
    limits.add_stop_strings(stop);
  }
  limits.mutable_stop_ids()->Add(options.stop_ids.begin(),
                                 options.stop_ids.end());
  limits.set_ignore_eos(options.ignore_eos);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ReadPrompt(const std::optional<std::string>& prompt,
                                       const std::string& file,
                                       Terminal& terminal) {
  if (prompt.has_value() && !file.empty()) {
    return absl::InvalidArgumentError(
        "give a prompt or --prompt-file, not both");
  }
  if (!prompt.has_value() && file.empty() && terminal.in_is_terminal) {
    return absl::InvalidArgumentError(
        "no prompt: give it as an argument, with --prompt-file, or through "
        "standard input");
  }
  std::string text;
  if (!file.empty()) {
    ASSIGN_OR_RETURN(text, ReadTextFile(file, kMaxPromptBytes));
  } else if (!prompt.has_value() || *prompt == "-") {
    ASSIGN_OR_RETURN(text, ReadStream(terminal.in));
  }
  if (!text.empty() && text.back() == '\n') {
    text.pop_back();  // Editors and echo add it; models read it.
  }
  if (prompt.has_value() && *prompt != "-") {
    text = *prompt;
  }
  if (text.size() > kMaxPromptBytes) {
    return TooLong();
  }
  if (!IsUtf8(text)) {
    return absl::InvalidArgumentError("the prompt is not UTF-8");
  }
  return text;
}

absl::Status FillChoice(const GenerateOptions& options,
                        v1::GenerateRequest& request) {
  if (!options.saved_recipe.empty()) {
    if (HasRecipe(options) || !options.module_weights.empty() ||
        !options.method.empty()) {
      return absl::InvalidArgumentError(
          "give --saved-recipe or a recipe's own options, not both");
    }
    request.set_saved_recipe(options.saved_recipe);
    return absl::OkStatus();
  }
  if (!HasRecipe(options) && options.module_weights.empty() &&
      options.method.empty()) {
    return absl::OkStatus();
  }
  return FillRecipe(options, *request.mutable_recipe());
}

absl::Status FillRecipe(const GenerateOptions& options, v1::Recipe& recipe) {
  if (!HasRecipe(options) && !options.module_weights.empty()) {
    return absl::InvalidArgumentError(
        "--module-weight needs a --recipe or --skill");
  }
  if (!HasRecipe(options) && !options.method.empty()) {
    return absl::InvalidArgumentError(
        "--method, its options and --pico need a --recipe or --skill");
  }
  if (!options.recipe_json.empty()) {
    ASSIGN_OR_RETURN(const std::string json,
                     ReadTextFile(options.recipe_json, kMaxRecipeBytes));
    RETURN_IF_ERROR(ParseRecipeJson(json, recipe));
  }
  for (const std::string& text : options.recipes) {
    RETURN_IF_ERROR(AddSkills(text, recipe));
  }
  for (const std::string& text : options.skills) {
    RETURN_IF_ERROR(AddSkill(text, recipe));
  }
  for (const std::string& text : options.module_weights) {
    RETURN_IF_ERROR(AddModuleWeight(text, recipe));
  }
  return SetMethod(options.method, recipe);
}

absl::StatusOr<v1::GenerateRequest> MakeGenerateRequest(
    const GenerateOptions& options, Terminal& terminal) {
  v1::GenerateRequest request;
  ASSIGN_OR_RETURN(std::string prompt,
                   ReadPrompt(options.prompt, options.prompt_file, terminal));
  if (!options.prompt_template.empty()) {
    ASSIGN_OR_RETURN(prompt, ApplyTemplate(options.prompt_template, prompt));
  }
  request.mutable_prompt()->set_text(std::move(prompt));
  // The control tokens are what a template is for.
  request.mutable_prompt()->set_parse_special_tokens(
      options.parse_special_tokens || !options.prompt_template.empty());
  if (options.no_add_special_tokens) {
    request.mutable_prompt()->set_add_special_tokens(false);
  }
  RETURN_IF_ERROR(FillChoice(options, request));
  FillSampling(options, *request.mutable_sampling());
  RETURN_IF_ERROR(FillLimits(options, *request.mutable_limits()));
  v1::Output& output = *request.mutable_output();
  output.set_logprobs(options.logprobs || options.top_logprobs > 0);
  output.set_top_logprobs(options.top_logprobs);
  output.set_echo(options.echo);
  output.set_keep_special_tokens(options.keep_special_tokens);
  if (options.n.has_value()) {
    request.set_n(*options.n);
  }
  return request;
}

}  // namespace stockpot
