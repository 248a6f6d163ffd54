// A Generation is one running sequence with what turns its logits into text:
// sampler, decoder, stop strings, timings. The engine thread is its only user.

#ifndef STOCKPOT_ENGINE_GENERATION_H_
#define STOCKPOT_ENGINE_GENERATION_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

#include "engine/generate_call.h"
#include "engine/sequence.h"
#include "engine/stop_matcher.h"
#include "formats/tokenizer/stream_decoder.h"
#include "model/sampler.h"

namespace stockpot {

class Generation {
 public:
  // `call` and `tokenizer` must outlive the generation. `seed` draws its
  // tokens.
  Generation(int64_t id, int32_t index, const PreparedCall& call,
             const Tokenizer& tokenizer, uint64_t seed);

  // Samples from `logits` [vocab] (written over), appends the token to the
  // sequence and returns what can be shown. Sets finish_reason() when done.
  // Errors: Internal (logits that are not finite).
  absl::StatusOr<DeltaEvent> Step(absl::Span<float> logits, absl::Time now);

  // Set once the sequence has ended.
  const std::optional<FinishReason>& finish_reason() const {
    return finish_reason_;
  }
  // REQUIRES: finish_reason() is set.
  FinishEvent Finish(absl::Time submitted) const;

  // Records the start of the first step that reads the sequence.
  void MarkStarted(absl::Time now);
  bool has_started() const { return started_ != absl::InfinitePast(); }

  Sequence& sequence() { return sequence_; }
  int32_t num_generated() const {
    return sequence_.num_tokens() - sequence_.num_prompt_tokens;
  }
  absl::Time started() const { return started_; }
  absl::Time first_token() const { return first_token_; }
  absl::Time last_token() const { return last_token_; }

 private:
  std::optional<FinishReason> ReasonAfter(int32_t token) const;

  const PreparedCall& call_;
  const int32_t index_;
  Sequence sequence_;
  Sampler sampler_;
  StreamDecoder decoder_;
  StopMatcher stops_;
  std::optional<FinishReason> finish_reason_;
  absl::Time started_ = absl::InfinitePast();
  absl::Time first_token_ = absl::InfinitePast();
  absl::Time last_token_ = absl::InfinitePast();
};

}  // namespace stockpot

#endif  // STOCKPOT_ENGINE_GENERATION_H_
