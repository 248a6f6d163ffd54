// One Generate call as the engine sees it, and where its output goes.

#ifndef STOCKPOT_ENGINE_GENERATE_CALL_H_
#define STOCKPOT_ENGINE_GENERATE_CALL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "formats/tokenizer/tokenizer.h"
#include "merge/composition.h"
#include "model/sampler.h"

namespace stockpot {

// A call whose prompt is tokens and whose recipe is in memory.
struct PreparedCall {
  std::vector<int32_t> prompt;                     // Not empty.
  std::shared_ptr<const Composition> composition;  // Null: the base model.
  SamplingParams sampling;
  // Whether the caller chose sampling.seed. If not, each sequence gets its own.
  bool has_seed = false;
  int32_t max_new_tokens = 0;  // >= 1; prompt and new tokens fit the context.
  std::vector<std::string> stop_strings;
  std::vector<int32_t> stop_ids;  // Give FinishReason::kStop.
  std::vector<int32_t> eos_ids;   // Give FinishReason::kEos.
  int32_t num_top_logprobs = -1;  // < 0: no log-probabilities.
  bool keep_special_tokens = false;
  std::string echo;  // Text to send before the first token's.
  int32_t priority = 0;
  absl::Duration compose_time;
};

// Runs on the engine's preparing thread, where it may block: tokenises,
// resolves names, composes.
using PrepareCall = std::function<absl::StatusOr<PreparedCall>()>;

struct DeltaEvent {
  int32_t index = 0;  // Which of the call's sequences.
  std::string text;   // Whole UTF-8 characters; may be empty.
  std::vector<SampledToken> tokens;
  bool has_logprobs = false;
};

enum class FinishReason : uint8_t { kEos, kStop, kLength };

struct FinishEvent {
  int32_t index = 0;
  FinishReason reason = FinishReason::kLength;
  int32_t prompt_tokens = 0;
  int32_t cached_tokens = 0;
  int32_t generated_tokens = 0;
  absl::Duration queued;  // From Submit() to the first step.
  absl::Duration compose;
  absl::Duration prefill;  // From the first step to the first token.
  absl::Duration decode;   // From the first token to the last.
};

// Where an engine delivers one call's output. Methods run on an engine thread,
// one at a time, and must return without waiting. OnDone() is the last call and
// comes exactly once.
class TokenSink {
 public:
  virtual ~TokenSink() = default;
  // Returns false if the reader is too slow to take it: the call then ends with
  // RESOURCE_EXHAUSTED.
  virtual bool OnDelta(DeltaEvent delta) = 0;
  virtual bool OnFinish(FinishEvent finish) = 0;
  virtual void OnDone(const absl::Status& status) = 0;
};

}  // namespace stockpot

#endif  // STOCKPOT_ENGINE_GENERATE_CALL_H_
