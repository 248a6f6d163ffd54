// A Sequence is one prompt being continued: its token ids, limits, and how far
// the model has read it. It holds no tensors; its keys and values are named by
// block ids.

#ifndef STOCKPOT_ENGINE_SEQUENCE_H_
#define STOCKPOT_ENGINE_SEQUENCE_H_

#include <cstdint>
#include <memory>
#include <vector>

namespace stockpot {

struct Composition;

struct Sequence {
  int64_t id = 0;        // Grows with arrival; also breaks ties of priority.
  int32_t priority = 0;  // Higher runs first.
  std::vector<int32_t> token_ids;  // [num_tokens]; the prompt comes first.
  int32_t num_prompt_tokens = 0;
  // Bound on token_ids.size(): prompt and new tokens.
  int32_t max_tokens = 0;
  // Null: the base model. Held until the sequence ends, so that an evicted
  // composition outlives its users.
  std::shared_ptr<const Composition> composition;

  // Owned by the scheduler.
  int32_t num_computed = 0;  // Prefix whose keys and values are in the cache.
  std::vector<int32_t> block_ids;

  int32_t num_tokens() const { return static_cast<int32_t>(token_ids.size()); }
};

}  // namespace stockpot

#endif  // STOCKPOT_ENGINE_SEQUENCE_H_
