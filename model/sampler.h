// A Sampler picks the next token of one sequence from its logits.
//
// Deterministic: the token depends on the logits, the parameters, the history
// and, when sampled, on (seed, number of the draw), never on other sequences.
// Not thread-safe; no torch.

#ifndef STOCKPOT_MODEL_SAMPLER_H_
#define STOCKPOT_MODEL_SAMPLER_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace stockpot {

// Bounds as in stockpot/v1/generation.proto; Validate() checks them.
struct SamplingParams {
  float temperature = 0;  // 0: greedy.
  int32_t top_k = 0;      // 0: off.
  float top_p = 1;
  float min_p = 0;
  float typical_p = 1;
  float repetition_penalty = 1;
  float frequency_penalty = 0;
  float presence_penalty = 0;
  absl::flat_hash_map<int32_t, float> logit_bias;
  uint64_t seed = 0;

  static constexpr size_t kMaxLogitBiases = 1024;

  // Errors: InvalidArgument naming the field and its bound.
  absl::Status Validate(int32_t vocab_size) const;
};

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;  // Natural logarithm.
};

struct SampledToken {
  int32_t id = 0;
  // Of the model's own distribution, before penalties and temperature. Only
  // when asked for.
  float logprob = 0;
  std::vector<TokenLogprob> top;  // Most likely first.
};

class Sampler {
 public:
  // `prompt` counts for the repetition penalty, as in transformers.
  Sampler(SamplingParams params, absl::Span<const int32_t> prompt);

  // Returns the next token and remembers it.
  //
  // Order, as in vLLM and transformers: bias, penalties, temperature, top_k,
  // typical_p, top_p, min_p, draw. `logits` [vocab] may be written over.
  // `num_top` < 0: no log-probabilities.
  // Errors: Internal if a logit is NaN or +inf, or all are -inf (the message
  // says that the composition overflowed).
  absl::StatusOr<SampledToken> Sample(absl::Span<float> logits, int num_top);

 private:
  void Penalise(absl::Span<float> logits) const;
  int32_t Draw(absl::Span<const float> logits);

  const SamplingParams params_;
  // Times each token was generated; prompt tokens appear with 0.
  absl::flat_hash_map<int32_t, int32_t> history_;
  uint64_t num_draws_ = 0;
};

}  // namespace stockpot

#endif  // STOCKPOT_MODEL_SAMPLER_H_
