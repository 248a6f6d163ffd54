#include "engine/generation.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"

namespace stockpot {

namespace {

constexpr size_t kPrimingTokens = 16;

SamplingParams WithSeed(SamplingParams params, uint64_t seed) {
  params.seed = seed;
  return params;
}

bool Contains(const std::vector<int32_t>& ids, int32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

}  // namespace

Generation::Generation(int64_t id, int32_t index, const PreparedCall& call,
                       const Tokenizer& tokenizer, uint64_t seed)
    : call_(call),
      index_(index),
      sampler_(WithSeed(call.sampling, seed), call.prompt),
      decoder_(tokenizer, /*skip_special=*/!call.keep_special_tokens),
      stops_(call.stop_strings) {
  sequence_.id = id;
  sequence_.priority = call.priority;
  sequence_.token_ids = call.prompt;
  sequence_.num_prompt_tokens = static_cast<int32_t>(call.prompt.size());
  sequence_.max_tokens = sequence_.num_prompt_tokens + call.max_new_tokens;
  sequence_.composition = call.composition;
  // Some tokenizers drop the space before the first word of a text. The answer
  // is not the first: the end of the prompt goes before it, unseen.
  const size_t size = call.prompt.size();
  for (size_t i = size - std::min(size, kPrimingTokens); i < size; ++i) {
    decoder_.Push(call.prompt[i]);
  }
}

void Generation::MarkStarted(absl::Time now) {
  if (!has_started()) {
    started_ = now;
  }
}

std::optional<FinishReason> Generation::ReasonAfter(int32_t token) const {
  if (Contains(call_.eos_ids, token)) {
    return FinishReason::kEos;
  }
  if (Contains(call_.stop_ids, token)) {
    return FinishReason::kStop;
  }
  if (sequence_.num_tokens() == sequence_.max_tokens) {
    return FinishReason::kLength;
  }
  return std::nullopt;
}

absl::StatusOr<DeltaEvent> Generation::Step(absl::Span<float> logits,
                                            absl::Time now) {
  ASSIGN_OR_RETURN(SampledToken token,
                   sampler_.Sample(logits, call_.num_top_logprobs));
  if (num_generated() == 0) {
    first_token_ = now;
  }
  last_token_ = now;
  sequence_.token_ids.push_back(token.id);
  finish_reason_ = ReasonAfter(token.id);

  DeltaEvent delta{.index = index_,
                   .text = num_generated() == 1 ? call_.echo : "",
                   .tokens = {},
                   .has_logprobs = call_.num_top_logprobs >= 0};
  const bool ends_by_token = finish_reason_ == FinishReason::kEos ||
                             finish_reason_ == FinishReason::kStop;
  std::string text;
  // A stop id is not part of the answer, like a stop string.
  if (!ends_by_token || call_.keep_special_tokens) {
    text = decoder_.Push(token.id);
  }
  delta.tokens.push_back(std::move(token));
  if (finish_reason_.has_value()) {
    text += decoder_.Finish();
  }
  StopMatcher::Result matched = stops_.Push(text);
  delta.text += matched.text;
  if (matched.stopped) {
    finish_reason_ = FinishReason::kStop;
  } else if (finish_reason_.has_value()) {
    delta.text += stops_.Finish();
  }
  return delta;
}

FinishEvent Generation::Finish(absl::Time submitted) const {
  return {.index = index_,
          .reason = *finish_reason_,
          .prompt_tokens = sequence_.num_prompt_tokens,
          .cached_tokens = 0,
          .generated_tokens = num_generated(),
          .queued = started_ - submitted,
          .compose = call_.compose_time,
          .prefill = first_token_ - started_,
          .decode = last_token_ - first_token_};
}

}  // namespace stockpot
