#include "tests/testing/model_driver.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "base/status_macros.h"

namespace stockpot::testing {

ModelDriver::ModelDriver(const BaseModel* model, int64_t num_blocks,
                         uint64_t seed)
    : model_(model),
      kv_(*KvCache::Create(model->KvShape(), num_blocks)),
      free_blocks_(num_blocks) {
  // Nobody may read what was not written: make it show.
  for (int64_t layer = 0; layer < model->KvShape().num_layers; ++layer) {
    kv_.keys(layer).fill_(std::numeric_limits<float>::quiet_NaN());
    kv_.values(layer).fill_(std::numeric_limits<float>::quiet_NaN());
  }
  std::iota(free_blocks_.begin(), free_blocks_.end(), 0);
  if (seed != 0) {
    std::mt19937_64 random(seed);
    std::shuffle(free_blocks_.begin(), free_blocks_.end(), random);
  }
}

int ModelDriver::NewSequence() {
  sequences_.emplace_back();
  return static_cast<int>(sequences_.size()) - 1;
}

absl::StatusOr<std::vector<std::vector<float>>> ModelDriver::Step(
    absl::Span<const Feed> feeds, const DeltaSet* deltas) {
  StepBatch batch;
  for (const Feed& feed : feeds) {
    Sequence& sequence = sequences_[feed.sequence];
    StepSequence step;
    step.first_row = static_cast<int32_t>(batch.token_ids.size());
    step.num_rows = static_cast<int32_t>(feed.tokens.size());
    for (const int32_t token : feed.tokens) {
      batch.token_ids.push_back(token);
      batch.positions.push_back(sequence.num_tokens++);
    }
    while (static_cast<int32_t>(sequence.blocks.size()) * kKvBlockTokens <
           sequence.num_tokens) {
      if (free_blocks_.empty()) {
        return absl::ResourceExhaustedError("the test needs more KV blocks");
      }
      sequence.blocks.push_back(free_blocks_.back());
      free_blocks_.pop_back();
    }
    step.context_tokens = sequence.num_tokens;
    step.block_ids = sequence.blocks;
    step.mix = feed.mix;
    step.wants_logits = feed.wants_logits;
    batch.sequences.push_back(std::move(step));
  }
  ASSIGN_OR_RETURN(const at::Tensor logits,
                   model_->Forward(batch, deltas, &kv_));
  std::vector<std::vector<float>> rows;
  const int64_t vocab = model_->config().vocab_size;
  for (int64_t i = 0; i < logits.size(0); ++i) {
    const float* row = logits.const_data_ptr<float>() + i * vocab;
    rows.emplace_back(row, row + vocab);
  }
  return rows;
}

absl::StatusOr<std::vector<std::vector<float>>> ModelDriver::Run(
    absl::Span<const int32_t> tokens, int64_t chunk, const DeltaSet* deltas,
    int32_t mix) {
  const int sequence = NewSequence();
  std::vector<std::vector<float>> rows;
  while (!tokens.empty()) {
    const auto part = tokens.subspan(0, chunk);
    tokens.remove_prefix(part.size());
    const Feed feed{sequence, {part.begin(), part.end()}, mix, true};
    ASSIGN_OR_RETURN(std::vector<std::vector<float>> step,
                     Step({feed}, deltas));
    rows.push_back(std::move(step[0]));
  }
  return rows;
}

float MaxDifference(absl::Span<const float> a, absl::Span<const float> b) {
  float largest = 0;
  if (a.size() != b.size()) {
    return std::numeric_limits<float>::infinity();
  }
  for (size_t i = 0; i < a.size(); ++i) {
    const float difference = std::abs(a[i] - b[i]);
    // Negated, so that NaN counts.
    if (!(difference <= largest)) {
      largest = std::isnan(difference) ? std::numeric_limits<float>::infinity()
                                       : difference;
    }
  }
  return largest;
}

}  // namespace stockpot::testing
