#include "server/download_reactor.h"

#include <utility>

#include "server/grpc_status.h"

namespace stockpot {

DownloadReactor::DownloadReactor(grpc::CallbackServerContext* context,
                                 const char* method, Metrics* metrics,
                                 WorkerPool* pool, IdleWatch* idle, Open open)
    : method_(method),
      metrics_(metrics),
      pool_(pool),
      guard_(idle->Add(
          [context](const absl::Status& /*why*/) { context->TryCancel(); })),
      open_(std::move(open)) {
  guard_->Heard(0);
  Run(&DownloadReactor::Begin);
}

void DownloadReactor::Run(void (DownloadReactor::*step)()) {
  if (!pool_->Run([this, step] { (this->*step)(); })) {
    End(absl::ResourceExhaustedError("too many calls wait; retry later"));
  }
}

void DownloadReactor::Begin() {
  absl::StatusOr<AdapterStream> stream = open_();
  if (!stream.ok()) {
    End(stream.status());
    return;
  }
  stream_ = *std::move(stream);
  *message_.mutable_metadata() = std::move(stream_.metadata);
  guard_->Wait();
  StartWrite(&message_);
}

void DownloadReactor::WriteChunk() {
  const absl::StatusOr<bool> more = stream_.next(message_.mutable_chunk());
  if (!more.ok() || !*more) {
    End(more.status());
    return;
  }
  guard_->Wait();
  StartWrite(&message_);
}

void DownloadReactor::OnWriteDone(bool ok) {
  // What was written is what the client took; after a cut, nothing goes on.
  const bool heard = guard_->Heard(message_.ByteSizeLong());
  if (!ok || !heard) {
    End(absl::CancelledError("the client is gone"));
    return;
  }
  Run(&DownloadReactor::WriteChunk);
}

void DownloadReactor::End(const absl::Status& status) {
  guard_->Stop();
  metrics_->CountRequest(method_, status.code());
  Finish(ToGrpcStatus(status));
}

void DownloadReactor::OnDone() { delete this; }

}  // namespace stockpot
