#include "server/download_reactor.h"

#include <utility>

#include "base/status_macros.h"
#include "server/grpc_status.h"

namespace stockpot {

DownloadReactor::DownloadReactor(const Serving& serving, WorkerPool* pool,
                                 std::string adapter)
    : serving_(serving), pool_(pool), adapter_(std::move(adapter)) {
  Run(&DownloadReactor::Begin);
}

void DownloadReactor::Run(void (DownloadReactor::*step)()) {
  if (!pool_->Run([this, step] { (this->*step)(); })) {
    End(absl::ResourceExhaustedError("too many calls wait; retry later"));
  }
}

absl::Status DownloadReactor::Open() {
  ASSIGN_OR_RETURN(const AdapterRef ref, AdapterRef::Parse(adapter_));
  ASSIGN_OR_RETURN(const AdapterRecord record, serving_.store->Get(ref));
  ASSIGN_OR_RETURN(blob_, serving_.store->OpenBlob(record.digest));
  v1::AdapterMetadata* metadata = message_.mutable_metadata();
  metadata->set_name(record.name);
  metadata->set_version(record.version);
  metadata->set_size_bytes(record.size_bytes);
  metadata->set_sha256(record.safetensors_sha256.ToHex());
  metadata->set_adapter_config(record.adapter_config);
  metadata->mutable_labels()->insert(record.labels.begin(),
                                     record.labels.end());
  metadata->set_description(record.description);
  metadata->set_card(record.card);
  return absl::OkStatus();
}

void DownloadReactor::Begin() {
  if (const absl::Status status = Open(); !status.ok()) {
    End(status);
    return;
  }
  StartWrite(&message_);
}

void DownloadReactor::WriteChunk() {
  const absl::StatusOr<bool> more = blob_->Next(message_.mutable_chunk());
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
  serving_.metrics->CountRequest("DownloadAdapter", status.code());
  Finish(ToGrpcStatus(status));
}

void DownloadReactor::OnDone() { delete this; }

}  // namespace stockpot
