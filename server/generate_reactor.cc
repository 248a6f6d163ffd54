#include "server/generate_reactor.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "server/generate_request.h"
#include "server/grpc_status.h"

namespace stockpot {

namespace {

void ToWire(absl::Duration duration, google::protobuf::Duration* out) {
  const int64_t nanos = absl::ToInt64Nanoseconds(duration);
  out->set_seconds(nanos / 1'000'000'000);
  out->set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
}

v1::FinishReason ToWire(FinishReason reason) {
  switch (reason) {
    case FinishReason::kEos:
      return v1::FINISH_REASON_EOS;
    case FinishReason::kStop:
      return v1::FINISH_REASON_STOP;
    case FinishReason::kLength:
      return v1::FINISH_REASON_LENGTH;
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

v1::GenerateResponse ToWire(const DeltaEvent& event) {
  v1::GenerateResponse response;
  v1::Delta* delta = response.mutable_delta();
  delta->set_index(event.index);
  delta->set_text(event.text);
  for (const SampledToken& token : event.tokens) {
    v1::Token* out = delta->add_tokens();
    out->set_id(token.id);
    if (event.has_logprobs) {
      out->set_logprob(token.logprob);
    }
    for (const TokenLogprob& top : token.top) {
      v1::TokenLogprob* entry = out->add_top();
      entry->set_id(top.id);
      entry->set_logprob(top.logprob);
    }
  }
  return response;
}

v1::GenerateResponse ToWire(const FinishEvent& event,
                            const v1::ResolvedRecipe& recipe) {
  v1::GenerateResponse response;
  v1::Finish* finish = response.mutable_finish();
  finish->set_index(event.index);
  finish->set_finish_reason(ToWire(event.reason));
  finish->mutable_usage()->set_prompt_tokens(event.prompt_tokens);
  finish->mutable_usage()->set_cached_tokens(event.cached_tokens);
  finish->mutable_usage()->set_generated_tokens(event.generated_tokens);
  v1::Timings* timings = finish->mutable_timings();
  ToWire(event.queued, timings->mutable_queued());
  ToWire(event.compose, timings->mutable_compose());
  ToWire(event.prefill, timings->mutable_prefill());
  ToWire(event.decode, timings->mutable_decode());
  *finish->mutable_recipe() = recipe;
  return response;
}

absl::Time DeadlineOf(const grpc::CallbackServerContext& context) {
  const auto deadline = context.deadline();
  return deadline == std::chrono::system_clock::time_point::max()
             ? absl::InfiniteFuture()
             : absl::FromChrono(deadline);
}

}  // namespace

class GenerateReactor::Sink : public TokenSink {
 public:
  explicit Sink(GenerateReactor* reactor) : reactor_(reactor) {}
  bool OnDelta(DeltaEvent delta) override {
    return reactor_->Enqueue(ToWire(delta));
  }
  bool OnFinish(FinishEvent finish) override {
    return reactor_->Enqueue(ToWire(finish, *reactor_->recipe_));
  }
  // The reactor may be gone when this returns; it is not touched after.
  void OnDone(const absl::Status& status) override { reactor_->End(status); }

 private:
  GenerateReactor* const reactor_;
};

GenerateReactor::GenerateReactor(grpc::CallbackServerContext* context,
                                 const Serving& serving,
                                 const v1::GenerateRequest& request)
    : serving_(serving) {
  const absl::Status check = CheckGenerate(request, serving.model);
  if (!check.ok()) {
    End(check);
    return;
  }
  auto copy = std::make_shared<v1::GenerateRequest>(request);
  const int32_t num_sequences = NumSequences(request);
  const absl::Time deadline = DeadlineOf(*context);
  PrepareCall prepare =
      [this, deadline,
       copy = std::move(copy)]() -> absl::StatusOr<PreparedCall> {
    absl::StatusOr<PreparedGenerate> prepared = PrepareGenerate(
        *copy, serving_,
        [&] { return IsCancelled() || absl::Now() > deadline; });
    if (!prepared.ok()) {
      return prepared.status();
    }
    recipe_ =
        std::make_shared<const v1::ResolvedRecipe>(std::move(prepared->recipe));
    return std::move(prepared->call);
  };
  absl::StatusOr<std::shared_ptr<Engine::Ticket>> ticket =
      serving.engine->Submit(std::move(prepare), num_sequences,
                             std::make_shared<Sink>(this), deadline);
  if (!ticket.ok()) {
    End(ticket.status());
    return;
  }
  bool cancelled = false;
  {
    MutexLock lock(&mu_);
    ticket_ = *ticket;
    cancelled = cancelled_;
  }
  if (cancelled) {
    (*ticket)->Cancel();
  }
}

bool GenerateReactor::IsCancelled() {
  MutexLock lock(&mu_);
  return cancelled_;
}

bool GenerateReactor::Enqueue(v1::GenerateResponse response) {
  {
    MutexLock lock(&mu_);
    if (!Append(std::move(response))) {
      return false;
    }
    if (!TakeNext()) {
      return true;
    }
  }
  StartWrite(&writing_);
  return true;
}

bool GenerateReactor::Append(v1::GenerateResponse response) {
  if (client_gone_) {
    return true;  // The cancel is on its way to the engine.
  }
  if (pending_bytes_ > kMaxPendingBytes) {
    return false;
  }
  pending_bytes_ += response.ByteSizeLong();
  v1::Delta* last = pending_.empty() || !pending_.back().has_delta()
                        ? nullptr
                        : pending_.back().mutable_delta();
  if (last != nullptr && response.has_delta() &&
      last->index() == response.delta().index()) {
    // The client is behind: one larger message costs it less than many.
    last->mutable_text()->append(response.delta().text());
    last->mutable_tokens()->MergeFrom(response.delta().tokens());
    return true;
  }
  pending_.push_back(std::move(response));
  return true;
}

bool GenerateReactor::TakeNext() {
  if (is_writing_ || pending_.empty()) {
    return false;
  }
  writing_ = std::move(pending_.front());
  pending_.pop_front();
  pending_bytes_ -= std::min(pending_bytes_, writing_.ByteSizeLong());
  is_writing_ = true;
  return true;
}

void GenerateReactor::End(const absl::Status& status) {
  serving_.metrics->CountRequest("Generate", status.code());
  bool finish = false;
  {
    MutexLock lock(&mu_);
    end_ = status;
    if (!status.ok()) {
      pending_.clear();
    }
    finish = !is_writing_ && pending_.empty();
  }
  // Otherwise the last OnWriteDone() finishes, and this may be gone by now.
  if (finish) {
    Finish(ToGrpcStatus(status));
  }
}

void GenerateReactor::OnWriteDone(bool ok) {
  std::optional<absl::Status> end;
  std::shared_ptr<Engine::Ticket> ticket;
  bool write = false;
  {
    MutexLock lock(&mu_);
    is_writing_ = false;
    if (!ok) {
      client_gone_ = true;
      pending_.clear();
      ticket = ticket_;
    }
    write = TakeNext();
    if (!write) {
      end = end_;
    }
  }
  if (write) {
    StartWrite(&writing_);
  } else if (end.has_value()) {
    Finish(ToGrpcStatus(*end));
  } else if (ticket != nullptr) {
    ticket->Cancel();
  }
}

void GenerateReactor::OnCancel() {
  std::shared_ptr<Engine::Ticket> ticket;
  {
    MutexLock lock(&mu_);
    cancelled_ = true;
    ticket = ticket_;
  }
  if (ticket != nullptr) {
    ticket->Cancel();
  }
}

void GenerateReactor::OnDone() { delete this; }

}  // namespace stockpot
