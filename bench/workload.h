// The requests of a load, each a function of the seed and its number alone.

#ifndef STOCKPOT_BENCH_WORKLOAD_H_
#define STOCKPOT_BENCH_WORKLOAD_H_

#include <cstdint>
#include <utility>

#include "proto/stockpot/v1/generation.pb.h"

#include "bench/length_distribution.h"
#include "bench/recipe_mix.h"

namespace stockpot {

struct WorkloadOptions {
  LengthDistribution prompt_length;
  LengthDistribution output_length;
  RecipeMix recipes;
  float skill_weight = 1;
  // Prompts are ids in [first_token_id, vocabulary).
  uint32_t first_token_id = 0;
  uint32_t vocabulary = 256;
  float temperature = 0;
  uint64_t seed = 0;
};

// Immutable; thread-safe.
class Workload {
 public:
  // REQUIRES: first_token_id < vocabulary.
  explicit Workload(WorkloadOptions options) : options_(std::move(options)) {}

  // Request number `index` >= 0: random token ids, its recipe, ignore_eos.
  stockpot::v1::GenerateRequest Request(int64_t index) const;

 private:
  const WorkloadOptions options_;
};

}  // namespace stockpot

#endif  // STOCKPOT_BENCH_WORKLOAD_H_
