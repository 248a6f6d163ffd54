#include "server/download_reactor.h"

#include <utility>

#include "server/grpc_status.h"

namespace stockpot {

DownloadReactor::DownloadReactor(const char* method, Metrics* metrics,
                                 WorkerPool* pool, Open open)
    : method_(method), metrics_(metrics), pool_(pool), open_(std::move(open)) {
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
  StartWrite(&message_);
}

void DownloadReactor::WriteChunk() {
  const absl::StatusOr<bool> more = stream_.next(message_.mutable_chunk());
  if (!more.ok() || !*more) {
    End(more.status());
    return;
  }
  StartWrite(&message_);
}

void DownloadReactor::OnWriteDone(bool ok) {
  if (!ok) {
    End(absl::CancelledError("the client is gone"));
    return;
  }
  Run(&DownloadReactor::WriteChunk);
}

void DownloadReactor::End(const absl::Status& status) {
  metrics_->CountRequest(method_, status.code());
  Finish(ToGrpcStatus(status));
}

void DownloadReactor::OnDone() { delete this; }

}  // namespace stockpot
