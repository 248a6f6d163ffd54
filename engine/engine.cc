#include "engine/engine.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "base/check.h"
#include "base/retry_after.h"

namespace stockpot {

struct Engine::Call {
  std::shared_ptr<Ticket> ticket;
  std::shared_ptr<TokenSink> sink;
  PrepareCall prepare;
  int32_t num_sequences = 1;
  absl::Time submitted;
  absl::Time deadline;

  // After preparation. `prepared` does not move: generations refer to it.
  absl::Status status;
  PreparedCall prepared;
  std::vector<std::unique_ptr<Generation>> generations;  // Not yet ended.
  int32_t num_queued = 0;  // Of its sequences, still counted as queued.
  bool ended = false;
};

namespace {

// A step reads a generation through its sequence.
using ByWhom = absl::flat_hash_map<const Sequence*, Generation*>;

uint64_t FreshSeed() {
  thread_local std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

}  // namespace

void Engine::Ticket::Cancel() {
  if (!cancelled_.exchange(true)) {
    MutexLock lock(&engine_->mu_);
    engine_->has_news_ = true;
    engine_->changed_.SignalAll();
  }
}

Engine::Engine(const Options& options, ModelRunner* runner,
               const Tokenizer* tokenizer, Metrics* metrics)
    : options_(options),
      runner_(runner),
      tokenizer_(tokenizer),
      metrics_(metrics),
      scheduler_(options.scheduler) {
  for (int32_t i = 0; i < options_.num_prepare_threads; ++i) {
    prepare_threads_.emplace_back([this] { PrepareLoop(); });
  }
  engine_thread_ = std::thread([this] { EngineLoop(); });
}

Engine::~Engine() {
  {
    MutexLock lock(&mu_);
    accepting_ = false;
    stopping_ = true;
    changed_.SignalAll();
  }
  for (std::thread& thread : prepare_threads_) {
    thread.join();
  }
  engine_thread_.join();
}

absl::StatusOr<std::shared_ptr<Engine::Ticket>> Engine::Submit(
    PrepareCall prepare, int32_t num_sequences, std::shared_ptr<TokenSink> sink,
    absl::Time deadline) {
  auto call = std::make_shared<Call>();
  call->ticket = std::shared_ptr<Ticket>(new Ticket(this));
  call->sink = std::move(sink);
  call->prepare = std::move(prepare);
  call->num_sequences = num_sequences;
  call->num_queued = num_sequences;
  call->submitted = absl::Now();
  call->deadline = deadline;
  std::shared_ptr<Ticket> ticket = call->ticket;

  MutexLock lock(&mu_);
  if (!accepting_) {
    return absl::UnavailableError(
        "the daemon is shutting down; retry elsewhere");
  }
  if (num_queued_ + num_sequences > options_.max_queued) {
    return WithRetryAfter(absl::ResourceExhaustedError(absl::StrCat(
                              "the queue holds ", num_queued_, " of at most ",
                              options_.max_queued, " sequences; retry later")),
                          absl::Seconds(1));
  }
  num_queued_ += num_sequences;
  ++num_calls_;
  to_prepare_.push_back(std::move(call));
  changed_.SignalAll();
  return ticket;
}

void Engine::StopAccepting() {
  MutexLock lock(&mu_);
  accepting_ = false;
}

int32_t Engine::num_calls() const {
  MutexLock lock(&mu_);
  return num_calls_;
}

int32_t Engine::Drain(absl::Time deadline) {
  MutexLock lock(&mu_);
  accepting_ = false;
  while (num_calls_ > 0 && absl::Now() < deadline) {
    changed_.WaitFor(&mu_, std::min(deadline - absl::Now(), absl::Seconds(1)));
  }
  const int32_t cut = num_calls_;
  stopping_ = true;
  changed_.SignalAll();
  while (num_calls_ > 0) {
    changed_.Wait(&mu_);
  }
  return cut;
}

void Engine::Report(Call* call, const absl::Status& status) {
  call->ended = true;
  call->sink->OnDone(status);
  call->sink.reset();
  MutexLock lock(&mu_);
  num_queued_ -= call->num_queued;
  call->num_queued = 0;
  --num_calls_;
  changed_.SignalAll();
}

void Engine::PrepareLoop() {
  while (true) {
    std::shared_ptr<Call> call;
    bool stopping = false;
    {
      MutexLock lock(&mu_);
      while (to_prepare_.empty() && !stopping_) {
        changed_.Wait(&mu_);
      }
      if (to_prepare_.empty()) {
        return;
      }
      call = std::move(to_prepare_.front());
      to_prepare_.pop_front();
      stopping = stopping_;
    }
    if (call->ticket->cancelled_) {
      call->status = absl::CancelledError("the client cancelled the call");
    } else if (stopping) {
      call->status = absl::UnavailableError("the daemon is shutting down");
    } else if (absl::Now() > call->deadline) {
      call->status = absl::DeadlineExceededError("the call waited too long");
    } else {
      absl::StatusOr<PreparedCall> prepared = call->prepare();
      call->status = prepared.status();
      if (absl::IsCancelled(call->status) && absl::Now() > call->deadline) {
        // Preparation gave up because of it.
        call->status = absl::DeadlineExceededError("the call waited too long");
      }
      if (prepared.ok()) {
        call->prepared = *std::move(prepared);
      }
    }
    call->prepare = nullptr;
    if (!call->status.ok()) {
      Report(call.get(), call->status);
      continue;
    }
    MutexLock lock(&mu_);
    prepared_.push_back(std::move(call));
    changed_.SignalAll();
  }
}

void Engine::EngineLoop() {
  while (true) {
    std::deque<std::shared_ptr<Call>> arrived;
    bool stopping = false;
    {
      MutexLock lock(&mu_);
      while (prepared_.empty() && !has_news_ && !stopping_ && active_.empty()) {
        changed_.Wait(&mu_);
      }
      arrived.swap(prepared_);
      has_news_ = false;
      stopping = stopping_;
      if (stopping && arrived.empty() && active_.empty() && num_calls_ == 0) {
        return;
      }
      if (stopping && arrived.empty() && active_.empty()) {
        // The preparing thread still ends its calls.
        changed_.WaitFor(&mu_, absl::Milliseconds(10));
        continue;
      }
    }
    for (std::shared_ptr<Call>& call : arrived) {
      Admit(std::move(call));
    }
    if (stopping) {
      for (const std::shared_ptr<Call>& call : active_) {
        EndCall(call.get(), absl::UnavailableError("the daemon is shutting "
                                                   "down"));
      }
    }
    ReapEnded();
    RunStep();
    if (active_.empty()) {
      runner_->Rest();
    }
    PublishGauges();
  }
}

void Engine::Admit(std::shared_ptr<Call> call) {
  const PreparedCall& prepared = call->prepared;
  const int64_t tokens =
      static_cast<int64_t>(prepared.prompt.size()) + prepared.max_new_tokens;
  if (!scheduler_.CouldFit(tokens)) {
    Report(call.get(), absl::InvalidArgumentError(absl::StrCat(
                           "prompt and limits.max_new_tokens need ", tokens,
                           " tokens of KV cache; the daemon has ",
                           int64_t{options_.scheduler.num_kv_blocks} *
                               options_.scheduler.kv_block_tokens,
                           ". Shorten them or raise --kv_cache_bytes")));
    return;
  }
  for (int32_t i = 0; i < call->num_sequences; ++i) {
    // With a seed, sequence i of a call always draws the same.
    const uint64_t seed =
        prepared.has_seed
            ? prepared.sampling.seed + uint64_t{0x9e3779b97f4a7c15} * i
            : FreshSeed();
    call->generations.push_back(std::make_unique<Generation>(
        next_sequence_id_++, i, prepared, *tokenizer_, seed));
    scheduler_.Add(&call->generations.back()->sequence());
  }
  metrics_->prompt_tokens.Add(
      static_cast<double>(prepared.prompt.size() * call->generations.size()));
  active_.push_back(std::move(call));
}

void Engine::ReapEnded() {
  const absl::Time now = absl::Now();
  for (const std::shared_ptr<Call>& call : active_) {
    if (call->ended) {
      continue;
    }
    if (call->ticket->cancelled_) {
      EndCall(call.get(),
              absl::CancelledError("the client cancelled the call"));
    } else if (now > call->deadline) {
      EndCall(call.get(), absl::DeadlineExceededError(
                              "the deadline passed before the answer ended"));
    }
  }
  active_.erase(std::remove_if(active_.begin(), active_.end(),
                               [](const auto& call) { return call->ended; }),
                active_.end());
}

void Engine::EndCall(Call* call, const absl::Status& status) {
  if (call->ended) {
    return;
  }
  for (const std::unique_ptr<Generation>& generation : call->generations) {
    scheduler_.Remove(&generation->sequence());
  }
  call->generations.clear();
  call->prepared.composition.reset();
  Report(call, status);
}

absl::StatusOr<Logits> Engine::RunModel(
    const std::vector<PlannedSequence>& plan) {
  StepBatch batch;
  std::vector<std::shared_ptr<const Composition>> mixes;
  absl::flat_hash_map<Digest, int32_t> mix_of;
  for (const PlannedSequence& planned : plan) {
    const Sequence& sequence = *planned.sequence;
    StepSequence step{
        .first_row = static_cast<int32_t>(batch.num_rows()),
        .num_rows = planned.num_rows,
        .context_tokens = sequence.num_computed + planned.num_rows,
        .block_ids = sequence.block_ids,
        .mix = 0,
        .wants_logits = planned.is_sampled};
    if (sequence.composition != nullptr) {
      const auto [it, is_new] = mix_of.try_emplace(
          sequence.composition->recipe, static_cast<int32_t>(mixes.size()) + 1);
      if (is_new) {
        mixes.push_back(sequence.composition);
      }
      step.mix = it->second;
    }
    for (int32_t i = 0; i < planned.num_rows; ++i) {
      const int32_t position = sequence.num_computed + i;
      batch.token_ids.push_back(sequence.token_ids[position]);
      batch.positions.push_back(position);
    }
    batch.sequences.push_back(std::move(step));
  }
  return runner_->Run(batch, mixes);
}

void Engine::CountStarted(Generation* generation, Call* call) {
  if (generation->has_started()) {
    return;
  }
  const absl::Time now = absl::Now();
  generation->MarkStarted(now);
  metrics_->queue_time.Observe(now - call->submitted);
  MutexLock lock(&mu_);
  --num_queued_;
  --call->num_queued;
}

void Engine::RunStep() {
  const std::vector<PlannedSequence> plan = scheduler_.Plan();
  if (plan.empty()) {
    return;
  }
  const absl::Time start = absl::Now();
  absl::flat_hash_map<const Sequence*, bool> planned;
  for (const PlannedSequence& p : plan) {
    planned.emplace(p.sequence, true);
  }
  for (const std::shared_ptr<Call>& call : active_) {
    for (const std::unique_ptr<Generation>& generation : call->generations) {
      if (planned.contains(&generation->sequence())) {
        CountStarted(generation.get(), call.get());
      }
    }
  }
  const absl::Time before = absl::Now();
  absl::StatusOr<Logits> logits = RunModel(plan);
  const absl::Duration model_time = absl::Now() - before;
  if (!logits.ok()) {
    for (const std::shared_ptr<Call>& call : active_) {
      for (const std::unique_ptr<Generation>& generation : call->generations) {
        if (planned.contains(&generation->sequence())) {
          EndCall(call.get(), logits.status());
          break;
        }
      }
    }
    return;
  }
  scheduler_.Commit(plan);
  Sample(plan, *logits);
  metrics_->steps.Add();
  const absl::Duration whole = absl::Now() - start;
  metrics_->step_time.Observe(whole);
  metrics_->step_overhead.Observe(whole - model_time);
}

void Engine::Sample(const std::vector<PlannedSequence>& plan,
                    const Logits& logits) {
  absl::flat_hash_map<const Sequence*, int64_t> row_of;
  int64_t row = 0;
  for (const PlannedSequence& planned : plan) {
    if (planned.is_sampled) {
      row_of.emplace(planned.sequence, row++);
    }
  }
  STOCKPOT_CHECK(row == logits.rows);
  for (const std::shared_ptr<Call>& call : active_) {
    // Delivering may end a sequence, or the whole call, and so change the list.
    std::vector<std::pair<Generation*, int64_t>> sampled;
    for (const std::unique_ptr<Generation>& generation : call->generations) {
      if (auto it = row_of.find(&generation->sequence()); it != row_of.end()) {
        sampled.emplace_back(generation.get(), it->second);
      }
    }
    for (const auto& [generation, at] : sampled) {
      if (!call->ended) {
        Deliver(call.get(), generation, logits.Row(at));
      }
    }
  }
}

void Engine::Deliver(Call* call, Generation* generation,
                     absl::Span<float> logits) {
  absl::StatusOr<DeltaEvent> delta = generation->Step(logits, absl::Now());
  if (!delta.ok()) {
    EndCall(call, delta.status());
    return;
  }
  metrics_->generated_tokens.Add();
  if (generation->num_generated() == 1) {
    metrics_->time_to_first_token.Observe(generation->first_token() -
                                          call->submitted);
  }
  if (!call->sink->OnDelta(*std::move(delta))) {
    EndCall(call, absl::ResourceExhaustedError(
                      "the client reads more slowly than the model writes"));
    return;
  }
  if (generation->finish_reason().has_value()) {
    EndSequence(call, generation);
  }
}

void Engine::EndSequence(Call* call, Generation* generation) {
  if (generation->num_generated() > 1) {
    metrics_->time_per_output_token.Observe(
        (generation->last_token() - generation->first_token()) /
        (generation->num_generated() - 1));
  }
  const bool taken = call->sink->OnFinish(generation->Finish(call->submitted));
  scheduler_.Remove(&generation->sequence());
  call->generations.erase(std::find_if(
      call->generations.begin(), call->generations.end(),
      [&](const auto& other) { return other.get() == generation; }));
  if (!taken) {
    EndCall(call, absl::ResourceExhaustedError(
                      "the client reads more slowly than the model writes"));
  } else if (call->generations.empty()) {
    EndCall(call, absl::OkStatus());
  }
}

void Engine::PublishGauges() {
  int32_t queued = 0;
  {
    MutexLock lock(&mu_);
    queued = num_queued_;
  }
  metrics_->queued.Set(queued);
  metrics_->running.Set(scheduler_.num_running());
  metrics_->kv_used_blocks.Set(scheduler_.blocks().num_used());
  metrics_->kv_total_blocks.Set(scheduler_.blocks().num_blocks());
}

}  // namespace stockpot
