#include "server/upload_reactor.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "base/status_macros.h"
#include "server/adapter_proto.h"
#include "server/grpc_status.h"
#include "server/parked_uploads.h"

namespace stockpot {

UploadReactor::UploadReactor(grpc::CallbackServerContext* context,
                             const Serving& serving, WorkerPool* pool,
                             IdleWatch* idle,
                             v1::RegisterAdapterResponse* response)
    : context_(context),
      serving_(serving),
      pool_(pool),
      response_(response),
      guard_(idle->Add([this](const absl::Status& status) { Cut(status); })) {
  StartRead(&message_);
}

void UploadReactor::OnReadDone(bool ok) {
  if (!guard_->Heard(ok ? message_.ByteSizeLong() : 0)) {
    return;  // Cut() was first, and ends the call.
  }
  const bool queued =
      pool_->Run([this, ok] { ok ? HandleMessage() : HandleEnd(); });
  if (!queued) {
    End(absl::ResourceExhaustedError("too many calls wait; retry later"),
        Afterwards::kPark);
  }
}

void UploadReactor::HandleMessage() {
  absl::Status status;
  Afterwards afterwards = Afterwards::kDrop;
  switch (message_.part_case()) {
    case v1::RegisterAdapterRequest::kMetadata:
      if (session_ == nullptr) {
        status = Begin(message_.metadata());
        // What was refused is this call, not the upload that it meant.
        afterwards = Afterwards::kPark;
      } else {
        status = absl::InvalidArgumentError(
            "metadata came twice; send it once, first");
      }
      break;
    case v1::RegisterAdapterRequest::kChunk:
      status = Append(message_.chunk());
      break;
    default:
      status = absl::InvalidArgumentError(
          "an empty message; send metadata, then chunks");
  }
  if (!status.ok()) {
    End(status, afterwards);
    return;
  }
  guard_->Wait();
  StartRead(&message_);
}

absl::Status UploadReactor::Begin(const v1::AdapterMetadata& metadata) {
  if (!metadata.upload_id().empty()) {
    RETURN_IF_ERROR(ValidateUploadId(metadata.upload_id()));
    if (serving_.parked->is_on()) {
      RETURN_IF_ERROR(Resume(metadata));
    }
  }
  if (session_ != nullptr) {
    return absl::OkStatus();
  }
  if (metadata.resume_offset() != 0) {
    return metadata.upload_id().empty()
               ? absl::InvalidArgumentError(absl::StrCat(
                     "metadata.resume_offset is ", metadata.resume_offset(),
                     " without an upload_id; send the one that the upload "
                     "began with, or 0"))
               : absl::NotFoundError(absl::StrCat(
                     "metadata.resume_offset is ", metadata.resume_offset(),
                     ", but nothing is kept under this upload_id; begin again "
                     "at 0"));
  }
  ASSIGN_OR_RETURN(session_, UploadSession::Begin(metadata, serving_));
  return absl::OkStatus();
}

absl::Status UploadReactor::Resume(const v1::AdapterMetadata& metadata) {
  ASSIGN_OR_RETURN(session_, serving_.parked->Claim(metadata.upload_id()));
  claimed_id_ = metadata.upload_id();
  if (session_ == nullptr) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(session_->CheckSame(metadata));
  if (metadata.resume_offset() != session_->received_bytes()) {
    return absl::FailedPreconditionError(
        absl::StrCat("metadata.resume_offset is ", metadata.resume_offset(),
                     "; of this upload ", session_->received_bytes(),
                     " bytes came: go on there"));
  }
  return absl::OkStatus();
}

absl::Status UploadReactor::Append(const std::string& chunk) {
  if (session_ == nullptr) {
    return absl::InvalidArgumentError(
        "a chunk came before the metadata; send metadata first");
  }
  RETURN_IF_ERROR(session_->Append(chunk));
  if (!claimed_id_.empty()) {
    serving_.parked->SetReceived(claimed_id_, session_->received_bytes());
  }
  return absl::OkStatus();
}

absl::Status UploadReactor::Commit() {
  if (session_ == nullptr) {
    return absl::InvalidArgumentError(
        "the stream ended before its metadata came");
  }
  ASSIGN_OR_RETURN(const CommitResult result, session_->Commit());
  *response_->mutable_adapter() = ToWire(result.record);
  response_->set_already_stored(result.already_stored);
  serving_.inspections->Add(result.record.digest);
  return absl::OkStatus();
}

void UploadReactor::HandleEnd() {
  // A client that vanished also ends the stream; only one that closed it in
  // order has asked for the commit.
  if (context_->IsCancelled()) {
    End(absl::CancelledError("the client cancelled the upload"),
        Afterwards::kPark);
    return;
  }
  // The end of a broken stream may be seen before its cancellation: what came
  // is right so far, and is kept.
  const bool is_torn =
      session_ != nullptr && !session_->has_all() && !claimed_id_.empty();
  if (is_torn) {
    End(absl::InvalidArgumentError(absl::StrCat(
            "the upload is not complete: ", session_->received_bytes(),
            " bytes came, fewer than size_bytes declared; go on at "
            "resume_offset ",
            session_->received_bytes(), " with the same upload_id")),
        Afterwards::kPark);
    return;
  }
  End(Commit(), Afterwards::kDrop);
}

void UploadReactor::Cut(const absl::Status& status) {
  const auto end = [this, status] { End(status, Afterwards::kPark); };
  if (!pool_->Run(end)) {
    end();
  }
}

void UploadReactor::End(const absl::Status& status, Afterwards afterwards) {
  guard_->Stop();
  // What is not kept goes before the client hears.
  if (!claimed_id_.empty()) {
    const bool parks = afterwards == Afterwards::kPark && session_ != nullptr &&
                       session_->is_intact();
    serving_.parked->Release(claimed_id_,
                             parks ? std::move(session_) : nullptr);
  }
  session_.reset();
  serving_.metrics->CountRequest("RegisterAdapter", status.code());
  Finish(ToGrpcStatus(status));
}

void UploadReactor::OnDone() { delete this; }

}  // namespace stockpot
