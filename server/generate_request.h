// Turns a GenerateRequest into what the engine runs.

#ifndef STOCKPOT_SERVER_GENERATE_REQUEST_H_
#define STOCKPOT_SERVER_GENERATE_REQUEST_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "proto/stockpot/v1/generation.pb.h"

#include "base/stop_check.h"
#include "engine/generate_call.h"
#include "server/serving.h"

namespace stockpot {

// Checks every bound that needs neither tokenizer nor storage, before the call
// is queued. Fast. Errors: InvalidArgument naming the field and its bound;
// Unimplemented naming a field that is not built yet.
absl::Status CheckGenerate(const v1::GenerateRequest& request,
                           const ModelFacts& model);

// Sequences that the request asks for. REQUIRES: CheckGenerate() was OK.
int32_t NumSequences(const v1::GenerateRequest& request);

struct PreparedGenerate {
  PreparedCall call;
  v1::ResolvedRecipe recipe;
};

// Tokenises, resolves and composes. Blocks. `stopped`: the call has ended.
// REQUIRES: CheckGenerate() was OK.
// Errors: InvalidArgument (a prompt that is empty or too long, ...), and those
// of ResolveRecipe() and Composer::Compose().
absl::StatusOr<PreparedGenerate> PrepareGenerate(
    const v1::GenerateRequest& request, const Serving& serving,
    const StopCheck& stopped);

// Ids of a prompt of text or tokens. Errors: InvalidArgument naming the field,
// Unimplemented for chat.
absl::StatusOr<std::vector<int32_t>> PromptIds(const v1::Prompt& prompt,
                                               const Serving& serving);

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_GENERATE_REQUEST_H_
