// A Scheduler decides which sequences take part in the next model step.
//
// It is a pure state machine: no threads, no clock, no tensors, no memory of
// its own but queues. The engine thread is its only caller.
//
// Policy: running sequences go first, so nobody who has begun waits for who has
// not. A prompt is read in chunks that share the step's token budget with the
// decoding sequences. A sequence starts only when blocks for its longest
// possible end are free, so a running sequence never has to be thrown back;
// waiting sequences start by priority, then by arrival, and none overtakes a
// higher one that does not fit yet.

#ifndef STOCKPOT_ENGINE_SCHEDULER_H_
#define STOCKPOT_ENGINE_SCHEDULER_H_

#include <cstdint>
#include <memory>
#include <set>
#include <vector>

#include "absl/status/status.h"

#include "engine/kv_blocks.h"
#include "engine/sequence.h"

namespace stockpot {

struct PlannedSequence {
  Sequence* sequence = nullptr;
  int32_t num_rows = 0;     // Tokens to read in this step, >= 1.
  bool is_sampled = false;  // The step reads its last token.
};

class Scheduler {
 public:
  struct Options {
    int32_t max_running = 64;       // Sequences in a step.
    int32_t max_step_tokens = 512;  // Over all sequences of a step.
    int32_t num_kv_blocks = 0;
    int32_t kv_block_tokens = 16;
  };

  explicit Scheduler(const Options& options);

  // Whether a sequence of `tokens` in all could ever run.
  bool CouldFit(int64_t tokens) const {
    return blocks_.BlocksFor(tokens) <= blocks_.num_blocks();
  }

  // Takes a sequence to the waiting queue; the scheduler borrows it until
  // Remove(). REQUIRES: CouldFit(sequence->max_tokens), a prompt that is not
  // empty, max_tokens > num_prompt_tokens.
  void Add(Sequence* sequence);

  // Returns the next step; empty when nothing can run. Starts sequences.
  std::vector<PlannedSequence> Plan();

  // Records that the step `plan` has run. The caller has appended a token to
  // every sampled sequence that goes on.
  void Commit(const std::vector<PlannedSequence>& plan);

  // Forgets a sequence, waiting or running, and frees its blocks.
  void Remove(Sequence* sequence);

  int32_t num_waiting() const { return static_cast<int32_t>(waiting_.size()); }
  int32_t num_running() const { return static_cast<int32_t>(running_.size()); }
  const KvBlocks& blocks() const { return blocks_; }

 private:
  struct RunsBefore {
    bool operator()(const Sequence* a, const Sequence* b) const {
      return a->priority != b->priority ? a->priority > b->priority
                                        : a->id < b->id;
    }
  };

  void StartWaiting();

  const Options options_;
  KvBlocks blocks_;
  std::set<Sequence*, RunsBefore> waiting_;
  std::vector<Sequence*> running_;  // In the order they started.
};

}  // namespace stockpot

#endif  // STOCKPOT_ENGINE_SCHEDULER_H_
