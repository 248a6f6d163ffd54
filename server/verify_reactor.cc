#include "server/verify_reactor.h"

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include <grpcpp/support/server_callback.h>

#include "server/grpc_status.h"

namespace stockpot {
namespace {

constexpr absl::Duration kLeastPause = absl::Milliseconds(500);

}  // namespace

VerifyReactor::VerifyReactor(grpc::CallbackServerContext* context,
                             const v1::VerifyRegistryRequest& request,
                             Scrubber* scrubber, IdleWatch* idle,
                             Metrics* metrics)
    : scrubber_(scrubber),
      metrics_(metrics),
      guard_(idle->Add(
          [context](const absl::Status& /*why*/) { context->TryCancel(); })) {
  guard_->Heard(0);
  {
    // Held, so that what the scrubber says at once waits until we know its id.
    MutexLock lock(&mu_);
    const absl::StatusOr<uint64_t> id =
        scrubber_->Verify(request.bytes_per_second(), this);
    if (id.ok()) {
      id_ = *id;
      return;
    }
    end_ = id.status();
  }
  End();
}

void VerifyReactor::OnProgress(const ScrubProgress& progress) {
  MutexLock lock(&mu_);
  if (writing_ || absl::Now() < next_write_) {
    return;
  }
  next_write_ = absl::Now() + kLeastPause;
  Fill(progress);
  writing_ = true;
  guard_->Wait();
  StartWrite(&message_);
}

void VerifyReactor::OnEnd(const absl::Status& status,
                          const ScrubProgress& progress) {
  {
    MutexLock lock(&mu_);
    end_ = status;
    last_word_ = progress;
    if (writing_) {
      return;
    }
  }
  End();
}

void VerifyReactor::OnWriteDone(bool ok) {
  bool ended = false;
  std::optional<uint64_t> canceled;
  {
    MutexLock lock(&mu_);
    guard_->Heard(message_.ByteSizeLong());
    writing_ = false;
    ended = end_.has_value();
    canceled = ok ? std::nullopt : id_;
  }
  if (ended) {
    End();
  } else if (canceled.has_value()) {
    scrubber_->Cancel(*canceled);
  }
}

void VerifyReactor::OnCancel() {
  std::optional<uint64_t> canceled;
  {
    MutexLock lock(&mu_);
    canceled = id_;
  }
  if (canceled.has_value()) {
    scrubber_->Cancel(*canceled);
  }
}

void VerifyReactor::Fill(const ScrubProgress& progress) {
  message_.Clear();
  message_.set_num_checked(progress.num_checked);
  message_.set_num_blobs(progress.num_blobs);
  message_.set_bytes_checked(progress.bytes_checked);
  for (const std::string& name : progress.damaged) {
    message_.add_damaged(name);
  }
}

void VerifyReactor::End() {
  metrics_->CountRequest("VerifyRegistry", end_->code());
  if (!end_->ok()) {
    Finish(ToGrpcStatus(*end_));
    return;
  }
  Fill(last_word_);
  message_.set_done(true);
  guard_->Wait();
  StartWriteAndFinish(&message_, grpc::WriteOptions(), grpc::Status::OK);
}

void VerifyReactor::OnDone() {
  guard_->Stop();
  delete this;
}

}  // namespace stockpot
