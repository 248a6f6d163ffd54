// From the options of `stockpot generate` to the request that it sends.

#ifndef STOCKPOT_CLIENT_GENERATE_REQUEST_H_
#define STOCKPOT_CLIENT_GENERATE_REQUEST_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "proto/stockpot/v1/generation.pb.h"

#include "client/method_text.h"
#include "client/terminal.h"

namespace stockpot {

// What is not set is not sent: the defaults are the server's. Bounds are the
// server's too; its message names the field.
struct GenerateOptions {
  std::optional<std::string> prompt;  // "-" is standard input.
  std::string prompt_file;            // Empty: `prompt`.
  std::string prompt_template;        // Empty: the prompt as it is.
  bool parse_special_tokens = false;
  bool no_add_special_tokens = false;

  std::vector<std::string> recipes;         // "facts=1,json=0.8"
  std::vector<std::string> skills;          // "facts=1"
  std::vector<std::string> module_weights;  // "facts:GLOB=0.5"
  std::string recipe_json;                  // A file; empty: none.
  std::string saved_recipe;                 // Empty: none; else the only one.
  MethodWords method;                       // Over that of the file.

  std::optional<float> temperature;
  std::optional<uint32_t> top_k;
  std::optional<float> top_p;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;
  std::optional<uint64_t> seed;

  std::optional<uint32_t> max_new_tokens;
  std::vector<std::string> stop;
  std::vector<uint32_t> stop_ids;
  bool ignore_eos = false;
  std::optional<uint32_t> n;

  bool logprobs = false;
  uint32_t top_logprobs = 0;
  bool echo = false;
  bool keep_special_tokens = false;

  bool json = false;
  bool stats = false;
};

// The prompt that `prompt` or `file` names: the text itself, a file, or
// standard input ("-", or neither given and not a terminal). One newline at
// the end of a file or of standard input is dropped; at most 4 MiB are taken.
//
// Errors: InvalidArgument if there is none, there are two, or it is too long or
// not UTF-8; NotFound.
absl::StatusOr<std::string> ReadPrompt(const std::optional<std::string>& prompt,
                                       const std::string& file,
                                       Terminal& terminal);

// Fills `recipe` from the options that write one out, none of them: the base
// model alone. Errors: InvalidArgument, NotFound (a file).
absl::Status FillRecipe(const GenerateOptions& options, v1::Recipe& recipe);

// Sets the recipe, or the saved one, that the options name. Errors: likewise,
// and InvalidArgument for both at once.
absl::Status FillChoice(const GenerateOptions& options,
                        v1::GenerateRequest& request);

// Likewise for another request with the fields `recipe` and `saved_recipe`.
template <typename Request>
absl::Status FillChoiceOf(const GenerateOptions& options, Request& request) {
  v1::GenerateRequest choice;
  absl::Status status = FillChoice(options, choice);
  if (choice.has_saved_recipe()) {
    request.set_saved_recipe(choice.saved_recipe());
  } else {
    *request.mutable_recipe() = std::move(*choice.mutable_recipe());
  }
  return status;
}

// Reads the files and the standard input that `options` name.
// Errors: InvalidArgument, NotFound.
absl::StatusOr<v1::GenerateRequest> MakeGenerateRequest(
    const GenerateOptions& options, Terminal& terminal);

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_GENERATE_REQUEST_H_
