// One model step as plain numbers: which tokens of which sequences go in, where
// their keys and values live, and whose logits are wanted. No tensors, so that
// schedulers and their tests need no torch.

#ifndef STOCKPOT_MODEL_STEP_BATCH_H_
#define STOCKPOT_MODEL_STEP_BATCH_H_

#include <cstdint>
#include <vector>

namespace stockpot {

struct StepSequence {
  int32_t first_row = 0;  // Of its new tokens in the step.
  int32_t num_rows = 0;   // New tokens, >= 1.
  // Tokens whose keys and values are in the cache after the step, new ones
  // included.
  int32_t context_tokens = 0;
  // KV blocks in order; covers context_tokens.
  std::vector<int32_t> block_ids;
  // Row of the step's mixing coefficients; 0 is the base model alone.
  int32_t mix = 0;
  bool wants_logits = false;  // Of its last row.
};

struct StepBatch {
  std::vector<int32_t> token_ids;  // [rows], sequence by sequence.
  std::vector<int32_t> positions;  // [rows], within the sequence, from 0.
  std::vector<StepSequence> sequences;

  int64_t num_rows() const { return static_cast<int64_t>(token_ids.size()); }
};

}  // namespace stockpot

#endif  // STOCKPOT_MODEL_STEP_BATCH_H_
