#include "server/generate_request.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/status_macros.h"
#include "server/recipe_resolver.h"
#include "server/saved_recipes.h"

namespace stockpot {

namespace {

constexpr size_t kMaxPromptBytes = size_t{4} << 20;
constexpr int kMaxStopStrings = 16;
constexpr size_t kMaxStopBytes = 256;
constexpr int kMaxStopIds = 64;
constexpr uint32_t kMaxSequences = 64;
constexpr uint32_t kMaxTopLogprobs = 20;
constexpr uint32_t kDefaultNewTokens = 256;
constexpr int32_t kMaxPriority = 100;

absl::Status Invalid(const std::string& message) {
  return absl::InvalidArgumentError(message);
}

absl::Status CheckPrompt(const v1::Prompt& prompt, const ModelFacts& model) {
  switch (prompt.kind_case()) {
    case v1::Prompt::kText:
      if (prompt.text().size() > kMaxPromptBytes) {
        return Invalid(absl::StrCat("prompt.text has ", prompt.text().size(),
                                    " bytes; at most ", kMaxPromptBytes));
      }
      return absl::OkStatus();
    case v1::Prompt::kTokenIds:
      if (prompt.token_ids().ids_size() > model.context_tokens) {
        return Invalid(absl::StrCat(
            "prompt.token_ids has ", prompt.token_ids().ids_size(),
            " ids; the model's context is ", model.context_tokens, " tokens"));
      }
      return absl::OkStatus();
    case v1::Prompt::kChat:
      return absl::UnimplementedError(
          "prompt.chat is not built yet; send the rendered text as "
          "prompt.text with parse_special_tokens");
    default:
      return Invalid("prompt is empty; set prompt.text or prompt.token_ids");
  }
}

absl::Status CheckLimits(const v1::Limits& limits, const ModelFacts& model) {
  if (limits.has_max_new_tokens() &&
      (limits.max_new_tokens() < 1 ||
       limits.max_new_tokens() > static_cast<uint32_t>(model.context_tokens))) {
    return Invalid(absl::StrCat("limits.max_new_tokens must be in [1, ",
                                model.context_tokens, "]; got ",
                                limits.max_new_tokens()));
  }
  if (limits.stop_strings_size() > kMaxStopStrings) {
    return Invalid(absl::StrCat("limits.stop_strings has ",
                                limits.stop_strings_size(),
                                " entries; at most ", kMaxStopStrings));
  }
  for (int i = 0; i < limits.stop_strings_size(); ++i) {
    const size_t size = limits.stop_strings(i).size();
    if (size == 0 || size > kMaxStopBytes) {
      return Invalid(absl::StrCat("limits.stop_strings[", i, "] has ", size,
                                  " bytes; expected 1 to ", kMaxStopBytes));
    }
  }
  if (limits.stop_ids_size() > kMaxStopIds) {
    return Invalid(absl::StrCat("limits.stop_ids has ", limits.stop_ids_size(),
                                " entries; at most ", kMaxStopIds));
  }
  for (int i = 0; i < limits.stop_ids_size(); ++i) {
    if (limits.stop_ids(i) >= static_cast<uint32_t>(model.vocab_size)) {
      return Invalid(absl::StrCat("limits.stop_ids[", i, "] is ",
                                  limits.stop_ids(i), "; the vocabulary has ",
                                  model.vocab_size));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<SamplingParams> ToSampling(const v1::Sampling& wire,
                                          int32_t vocab_size) {
  SamplingParams p;
  if (wire.has_temperature()) p.temperature = wire.temperature();
  if (wire.has_top_k()) {
    // More than the vocabulary means all of it.
    p.top_k = static_cast<int32_t>(
        std::min<uint32_t>(wire.top_k(), static_cast<uint32_t>(vocab_size)));
  }
  if (wire.has_top_p()) p.top_p = wire.top_p();
  if (wire.has_min_p()) p.min_p = wire.min_p();
  if (wire.has_typical_p()) p.typical_p = wire.typical_p();
  if (wire.has_repetition_penalty()) {
    p.repetition_penalty = wire.repetition_penalty();
  }
  if (wire.has_frequency_penalty()) {
    p.frequency_penalty = wire.frequency_penalty();
  }
  if (wire.has_presence_penalty()) {
    p.presence_penalty = wire.presence_penalty();
  }
  for (const auto& [id, bias] : wire.logit_bias()) {
    // An id beyond int32 must stay out of range, not wrap.
    const uint32_t bounded = std::min<uint32_t>(id, INT32_MAX);
    p.logit_bias[static_cast<int32_t>(bounded)] = bias;
  }
  p.seed = wire.seed();
  RETURN_IF_ERROR(p.Validate(vocab_size));
  return p;
}

// Tokens that the answer may have. Errors: InvalidArgument.
absl::StatusOr<int32_t> NewTokens(const v1::Limits& limits,
                                  int64_t prompt_tokens,
                                  const ModelFacts& model) {
  const int64_t room = model.context_tokens - prompt_tokens;
  if (room < 1) {
    return Invalid(absl::StrCat(
        "the prompt has ", prompt_tokens, " tokens; the model's context of ",
        model.context_tokens, " leaves no room for an answer"));
  }
  if (!limits.has_max_new_tokens()) {
    return static_cast<int32_t>(std::min<int64_t>(room, kDefaultNewTokens));
  }
  if (limits.max_new_tokens() > room) {
    return Invalid(
        absl::StrCat("limits.max_new_tokens is ", limits.max_new_tokens(),
                     "; the prompt of ", prompt_tokens, " tokens leaves ", room,
                     " of the model's context of ", model.context_tokens));
  }
  return static_cast<int32_t>(limits.max_new_tokens());
}

}  // namespace

absl::Status CheckGenerate(const v1::GenerateRequest& request,
                           const ModelFacts& model) {
  RETURN_IF_ERROR(CheckPrompt(request.prompt(), model));
  RETURN_IF_ERROR(CheckLimits(request.limits(), model));
  RETURN_IF_ERROR(ToSampling(request.sampling(), model.vocab_size).status());
  if (request.recipe_choice_case() == v1::GenerateRequest::kSavedRecipe) {
    RETURN_IF_ERROR(CheckSavedRecipe(request.saved_recipe()));
  } else {
    RETURN_IF_ERROR(CheckRecipe(request.recipe()));
  }
  if (request.has_n() && (request.n() < 1 || request.n() > kMaxSequences)) {
    return Invalid(absl::StrCat("n must be in [1, ", kMaxSequences, "]; got ",
                                request.n()));
  }
  if (request.priority() < -kMaxPriority || request.priority() > kMaxPriority) {
    return Invalid(absl::StrCat("priority must be in [-", kMaxPriority, ", ",
                                kMaxPriority, "]; got ", request.priority()));
  }
  if (request.output().top_logprobs() > kMaxTopLogprobs) {
    return Invalid(absl::StrCat("output.top_logprobs must be in [0, ",
                                kMaxTopLogprobs, "]; got ",
                                request.output().top_logprobs()));
  }
  if (request.output().prompt_logprobs()) {
    return absl::UnimplementedError("output.prompt_logprobs is not built yet");
  }
  return absl::OkStatus();
}

int32_t NumSequences(const v1::GenerateRequest& request) {
  return request.has_n() ? static_cast<int32_t>(request.n()) : 1;
}

absl::StatusOr<std::vector<int32_t>> PromptIds(const v1::Prompt& prompt,
                                               const Serving& serving) {
  RETURN_IF_ERROR(CheckPrompt(prompt, serving.model));
  if (prompt.kind_case() == v1::Prompt::kText) {
    Tokenizer::EncodeOptions options;
    options.parse_special_tokens = prompt.parse_special_tokens();
    options.add_special_tokens =
        !prompt.has_add_special_tokens() || prompt.add_special_tokens();
    absl::StatusOr<std::vector<int32_t>> ids =
        serving.tokenizer->Encode(prompt.text(), options);
    if (!ids.ok()) {
      return absl::Status(
          ids.status().code(),
          absl::StrCat("prompt.text: ", ids.status().message()));
    }
    return ids;
  }
  std::vector<int32_t> ids;
  ids.reserve(prompt.token_ids().ids_size());
  for (int i = 0; i < prompt.token_ids().ids_size(); ++i) {
    const uint32_t id = prompt.token_ids().ids(i);
    if (id >= static_cast<uint32_t>(serving.model.vocab_size)) {
      return Invalid(absl::StrCat("prompt.token_ids[", i, "] is ", id,
                                  "; the vocabulary has ",
                                  serving.model.vocab_size));
    }
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

absl::StatusOr<PreparedGenerate> PrepareGenerate(
    const v1::GenerateRequest& request, const Serving& serving,
    const StopCheck& stopped) {
  PreparedGenerate prepared;
  PreparedCall& call = prepared.call;
  ASSIGN_OR_RETURN(call.prompt, PromptIds(request.prompt(), serving));
  if (call.prompt.empty()) {
    return Invalid("the prompt has no tokens; send at least one");
  }
  const v1::Limits& limits = request.limits();
  ASSIGN_OR_RETURN(call.max_new_tokens,
                   NewTokens(limits, static_cast<int64_t>(call.prompt.size()),
                             serving.model));
  ASSIGN_OR_RETURN(call.sampling,
                   ToSampling(request.sampling(), serving.model.vocab_size));
  call.has_seed = request.sampling().has_seed();
  call.stop_strings.assign(limits.stop_strings().begin(),
                           limits.stop_strings().end());
  call.stop_ids.assign(limits.stop_ids().begin(), limits.stop_ids().end());
  if (!limits.ignore_eos()) {
    call.eos_ids = serving.model.eos_ids;
  }
  const v1::Output& output = request.output();
  if (output.logprobs() || output.top_logprobs() > 0) {
    call.num_top_logprobs = static_cast<int32_t>(output.top_logprobs());
  }
  call.keep_special_tokens = output.keep_special_tokens();
  if (output.echo()) {
    ASSIGN_OR_RETURN(call.echo, serving.tokenizer->Decode(
                                    call.prompt, !call.keep_special_tokens));
  }
  call.priority = request.priority();

  ASSIGN_OR_RETURN(ResolvedCallRecipe resolved,
                   ResolveChoice(request, serving));
  const absl::Time start = absl::Now();
  ASSIGN_OR_RETURN(Composer::Result composed,
                   serving.composer->Compose(resolved.recipe, stopped));
  call.composition = std::move(composed.composition);
  call.compose_time = composed.hit ? absl::ZeroDuration() : absl::Now() - start;
  prepared.recipe = std::move(resolved.wire);
  return prepared;
}

}  // namespace stockpot
