#include "server/backup_reactor.h"

#include <utility>

#include "absl/status/statusor.h"

#include "base/status_macros.h"
#include "server/grpc_status.h"

namespace stockpot {

BackupReactor::BackupReactor(grpc::CallbackServerContext* context,
                             RocksStore* registry, WorkerPool* pool,
                             IdleWatch* idle, Metrics* metrics)
    : registry_(registry),
      pool_(pool),
      metrics_(metrics),
      guard_(idle->Add(
          [context](const absl::Status& /*why*/) { context->TryCancel(); })) {
  guard_->Heard(0);
  Run(&BackupReactor::Begin);
}

void BackupReactor::Run(void (BackupReactor::*step)()) {
  if (!pool_->Run([this, step] { (this->*step)(); })) {
    End(absl::ResourceExhaustedError("too many calls wait; retry later"));
  }
}

void BackupReactor::Begin() {
  absl::StatusOr<std::unique_ptr<RegistryBackup>> backup =
      registry_->BeginBackup();
  if (!backup.ok()) {
    End(backup.status());
    return;
  }
  backup_ = *std::move(backup);
  SendPart();
}

void BackupReactor::SendPart() {
  if (const absl::Status status = NextPart(); !status.ok()) {
    End(status);
    return;
  }
  guard_->Wait();
  StartWrite(&message_);
}

absl::Status BackupReactor::NextPart() {
  if (reader_ != nullptr) {
    ASSIGN_OR_RETURN(const bool more, reader_->Next(message_.mutable_chunk()));
    if (!more) {
      message_.set_sha256(reader_->sha256().ToHex());
      reader_.reset();
      ++num_ended_;
    }
    return absl::OkStatus();
  }
  if (num_ended_ == backup_->files().size()) {
    v1::BackupEnd* end = message_.mutable_end();
    end->set_num_files(static_cast<uint32_t>(num_ended_));
    end->set_size_bytes(backup_->size_bytes());
    end->set_format_version(backup_->format_version());
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(reader_, backup_->OpenFile(num_ended_));
  const RegistryBackup::File& file = backup_->files()[num_ended_];
  message_.mutable_file()->set_name(file.name);
  message_.mutable_file()->set_size_bytes(file.size_bytes);
  return absl::OkStatus();
}

void BackupReactor::OnWriteDone(bool ok) {
  // What was written is what the client took; after a cut, nothing goes on.
  const bool heard = guard_->Heard(message_.ByteSizeLong());
  Run(!ok || !heard        ? &BackupReactor::Abandon
      : message_.has_end() ? &BackupReactor::Complete
                           : &BackupReactor::SendPart);
}

void BackupReactor::End(const absl::Status& status) {
  guard_->Stop();
  reader_.reset();
  backup_.reset();
  metrics_->CountRequest("BackupRegistry", status.code());
  Finish(ToGrpcStatus(status));
}

void BackupReactor::OnDone() { delete this; }

}  // namespace stockpot
