// A ModelDriver runs a base model step by step without an engine: it hands out
// KV blocks, builds the steps and returns logits as plain floats.
//
// Not thread-safe.

#ifndef STOCKPOT_TESTS_TESTING_MODEL_DRIVER_H_
#define STOCKPOT_TESTS_TESTING_MODEL_DRIVER_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "model/base_model.h"
#include "model/delta_set.h"
#include "model/kv_cache.h"
#include "model/step_batch.h"

namespace stockpot::testing {

class ModelDriver {
 public:
  // Blocks are handed out in an order shuffled by `seed`; 0: in order.
  explicit ModelDriver(const BaseModel* model, int64_t num_blocks = 128,
                       uint64_t seed = 1);

  // What one sequence does in a step.
  struct Feed {
    int sequence = 0;  // From NewSequence().
    std::vector<int32_t> tokens;
    int32_t mix = 0;
    bool wants_logits = true;
  };

  int NewSequence();

  // Runs one step; returns a row of [vocab] for each feed that wants logits.
  absl::StatusOr<std::vector<std::vector<float>>> Step(
      absl::Span<const Feed> feeds, const DeltaSet* deltas = nullptr);

  // Runs `tokens` as a new sequence in steps of at most `chunk` tokens. Returns
  // the logits at the end of each chunk.
  absl::StatusOr<std::vector<std::vector<float>>> Run(
      absl::Span<const int32_t> tokens, int64_t chunk,
      const DeltaSet* deltas = nullptr, int32_t mix = 0);

 private:
  struct Sequence {
    int32_t num_tokens = 0;
    std::vector<int32_t> blocks;
  };

  const BaseModel* const model_;
  KvCache kv_;
  std::vector<int32_t> free_blocks_;  // Taken from the back.
  std::vector<Sequence> sequences_;
};

// The largest absolute difference; infinity if the sizes differ or a value is
// NaN.
float MaxDifference(absl::Span<const float> a, absl::Span<const float> b);

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_TESTING_MODEL_DRIVER_H_
