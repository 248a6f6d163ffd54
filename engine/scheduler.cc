#include "engine/scheduler.h"

#include <algorithm>

#include "base/check.h"

namespace stockpot {

Scheduler::Scheduler(const Options& options)
    : options_(options),
      blocks_(options.num_kv_blocks, options.kv_block_tokens) {}

void Scheduler::Add(Sequence* sequence) {
  STOCKPOT_CHECK(CouldFit(sequence->max_tokens));
  STOCKPOT_CHECK(sequence->num_prompt_tokens > 0);
  STOCKPOT_CHECK(sequence->max_tokens > sequence->num_prompt_tokens);
  waiting_.insert(sequence);
}

void Scheduler::StartWaiting() {
  while (!waiting_.empty() && num_running() < options_.max_running) {
    Sequence* next = *waiting_.begin();
    // The last token is never read, so it needs no slot.
    std::vector<int32_t> blocks =
        blocks_.Take(blocks_.BlocksFor(next->max_tokens - 1));
    if (blocks.empty()) {
      return;
    }
    next->block_ids = std::move(blocks);
    waiting_.erase(waiting_.begin());
    running_.push_back(next);
  }
}

std::vector<PlannedSequence> Scheduler::Plan() {
  StartWaiting();
  std::vector<PlannedSequence> plan;
  int32_t budget = options_.max_step_tokens;
  const auto take = [&](Sequence* sequence, int32_t rows) {
    const int32_t left = sequence->num_tokens() - sequence->num_computed;
    plan.push_back({sequence, rows, rows == left});
    budget -= rows;
  };
  // Who decodes goes first; prompts share what is left, oldest first.
  for (Sequence* sequence : running_) {
    if (sequence->num_tokens() - sequence->num_computed == 1 && budget > 0) {
      take(sequence, 1);
    }
  }
  for (Sequence* sequence : running_) {
    const int32_t left = sequence->num_tokens() - sequence->num_computed;
    if (left > 1 && budget > 0) {
      take(sequence, std::min(left, budget));
    }
  }
  return plan;
}

void Scheduler::Commit(const std::vector<PlannedSequence>& plan) {
  for (const PlannedSequence& planned : plan) {
    planned.sequence->num_computed += planned.num_rows;
  }
}

void Scheduler::Remove(Sequence* sequence) {
  if (waiting_.erase(sequence) == 1) {
    return;
  }
  const auto it = std::find(running_.begin(), running_.end(), sequence);
  STOCKPOT_CHECK(it != running_.end());
  running_.erase(it);
  blocks_.Free(sequence->block_ids);
  sequence->block_ids.clear();
}

}  // namespace stockpot
