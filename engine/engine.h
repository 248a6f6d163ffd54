// An Engine turns calls into tokens: a few threads prepare them, one thread
// plans steps, runs the model, samples and delivers.
//
// Submit(), Cancel() and the figures are safe to call from many threads at
// once. Only the engine thread touches the runner, the scheduler and the
// sequences; everybody else talks to it through a bounded queue. No torch, no
// gRPC.

#ifndef STOCKPOT_ENGINE_ENGINE_H_
#define STOCKPOT_ENGINE_ENGINE_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "base/metrics.h"
#include "base/mutex.h"
#include "engine/generate_call.h"
#include "engine/generation.h"
#include "engine/model_runner.h"
#include "engine/scheduler.h"

namespace stockpot {

class Engine {
 public:
  struct Options {
    Scheduler::Options scheduler;
    // Sequences accepted and not yet running. One more is refused.
    int32_t max_queued = 256;
    // A call that waits for storage must not hold up one that does not.
    int32_t num_prepare_threads = 2;
  };

  // One accepted call, shared by its submitter and the engine.
  class Ticket {
   public:
    // Ends the call within one step, with Cancelled. Thread-safe; later calls
    // do nothing.
    void Cancel();

   private:
    friend class Engine;
    explicit Ticket(Engine* engine) : engine_(engine) {}
    Engine* const engine_;
    std::atomic<bool> cancelled_{false};
  };

  // `runner`, `tokenizer` and `metrics` must outlive the engine. Starts the
  // threads.
  Engine(const Options& options, ModelRunner* runner,
         const Tokenizer* tokenizer, Metrics* metrics);

  // Ends what is left with Unavailable and joins the threads.
  ~Engine();

  // Starts a call of `num_sequences`. On OK, `sink` receives exactly one
  // OnDone(); on error it is not called at all. Does not block.
  // Errors: ResourceExhausted (the queue is full), Unavailable (draining).
  // Work whose `deadline` has passed is ended with DeadlineExceeded, not run.
  absl::StatusOr<std::shared_ptr<Ticket>> Submit(
      PrepareCall prepare, int32_t num_sequences,
      std::shared_ptr<TokenSink> sink, absl::Time deadline);

  // Refuses new calls, waits for the running ones until `deadline`, and ends
  // the rest with Unavailable. Returns the calls so ended. Blocks.
  int32_t Drain(absl::Time deadline);

  // Refuses new calls from now on.
  void StopAccepting();
  // Calls that have not ended.
  int32_t num_calls() const;

 private:
  struct Call;

  void PrepareLoop();
  void EngineLoop();

  // The rest runs on the engine thread.
  void Admit(std::shared_ptr<Call> call);
  void ReapEnded();
  void RunStep();
  absl::StatusOr<Logits> RunModel(const std::vector<PlannedSequence>& plan);
  void Sample(const std::vector<PlannedSequence>& plan, const Logits& logits);
  // Delivers one sequence's step; returns false once its call has ended.
  void Deliver(Call* call, Generation* generation, absl::Span<float> logits);
  void EndSequence(Call* call, Generation* generation);
  // Takes the call's sequences out of the scheduler and reports `status`.
  void EndCall(Call* call, const absl::Status& status);
  void CountStarted(Generation* generation, Call* call);
  void PublishGauges();

  void Report(Call* call, const absl::Status& status) ABSL_LOCKS_EXCLUDED(mu_);

  const Options options_;
  ModelRunner* const runner_;
  const Tokenizer* const tokenizer_;
  Metrics* const metrics_;

  // Touched by the engine thread alone.
  Scheduler scheduler_;
  std::vector<std::shared_ptr<Call>> active_;
  int64_t next_sequence_id_ = 0;

  mutable Mutex mu_;
  CondVar changed_;
  std::deque<std::shared_ptr<Call>> to_prepare_ ABSL_GUARDED_BY(mu_);
  std::deque<std::shared_ptr<Call>> prepared_ ABSL_GUARDED_BY(mu_);
  int32_t num_queued_ ABSL_GUARDED_BY(mu_) = 0;  // Sequences.
  int32_t num_calls_ ABSL_GUARDED_BY(mu_) = 0;
  bool accepting_ ABSL_GUARDED_BY(mu_) = true;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool has_news_ ABSL_GUARDED_BY(mu_) = false;  // A cancel, for the engine.

  std::vector<std::thread> prepare_threads_;
  std::thread engine_thread_;
};

}  // namespace stockpot

#endif  // STOCKPOT_ENGINE_ENGINE_H_
