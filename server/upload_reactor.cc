#include "server/upload_reactor.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/status_macros.h"
#include "server/adapter_proto.h"
#include "server/grpc_status.h"

namespace stockpot {

namespace {

absl::StatusOr<UploadSpec> ToSpec(const v1::AdapterMetadata& metadata) {
  UploadSpec spec;
  spec.name = metadata.name();
  if (metadata.has_version()) {
    spec.version = metadata.version();
  }
  spec.labels.insert(metadata.labels().begin(), metadata.labels().end());
  spec.description = metadata.description();
  spec.card = metadata.card();
  spec.adapter_config = metadata.adapter_config();
  spec.size_bytes = metadata.size_bytes();
  absl::StatusOr<Digest> sha256 = Digest::FromHex(metadata.sha256());
  if (!sha256.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("metadata.sha256: ", sha256.status().message()));
  }
  spec.sha256 = *sha256;
  return spec;
}

}  // namespace

UploadReactor::UploadReactor(grpc::CallbackServerContext* context,
                             const Serving& serving, WorkerPool* pool,
                             IdleWatch* idle,
                             v1::RegisterAdapterResponse* response)
    : context_(context),
      serving_(serving),
      pool_(pool),
      response_(response),
      guard_(idle->Add([context] { context->TryCancel(); })) {
  StartRead(&message_);
}

void UploadReactor::OnReadDone(bool ok) {
  guard_->Touch();
  const bool queued =
      pool_->Run([this, ok] { ok ? HandleMessage() : HandleEnd(); });
  if (!queued) {
    End(absl::ResourceExhaustedError("too many calls wait; retry later"));
  }
}

void UploadReactor::HandleMessage() {
  absl::Status status;
  switch (message_.part_case()) {
    case v1::RegisterAdapterRequest::kMetadata:
      status = upload_ == nullptr
                   ? Begin(message_.metadata())
                   : absl::InvalidArgumentError(
                         "metadata came twice; send it once, first");
      break;
    case v1::RegisterAdapterRequest::kChunk:
      status = Append(message_.chunk());
      break;
    default:
      status = absl::InvalidArgumentError(
          "an empty message; send metadata, then chunks");
  }
  if (!status.ok()) {
    End(status);
    return;
  }
  guard_->Touch();
  StartRead(&message_);
}

absl::Status UploadReactor::Begin(const v1::AdapterMetadata& metadata) {
  ASSIGN_OR_RETURN(UploadSpec spec, ToSpec(metadata));
  ASSIGN_OR_RETURN(
      validator_,
      AdapterValidator::Create(metadata.adapter_config(), metadata.size_bytes(),
                               serving_.model.modules, serving_.measure));
  ASSIGN_OR_RETURN(upload_, serving_.store->BeginUpload(std::move(spec)));
  return absl::OkStatus();
}

absl::Status UploadReactor::Append(const std::string& chunk) {
  if (upload_ == nullptr) {
    return absl::InvalidArgumentError(
        "a chunk came before the metadata; send metadata first");
  }
  if (chunk.size() > kMaxChunkBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a chunk has ", chunk.size(), " bytes; at most ", kMaxChunkBytes));
  }
  serving_.metrics->upload_bytes.Add(static_cast<double>(chunk.size()));
  // The store refuses bytes beyond the declared size, so it goes first.
  RETURN_IF_ERROR(upload_->Append(chunk));
  return validator_->Feed(chunk);
}

absl::Status UploadReactor::Commit() {
  if (upload_ == nullptr) {
    return absl::InvalidArgumentError(
        "the stream ended before its metadata came");
  }
  RETURN_IF_ERROR(upload_->CheckComplete());
  ASSIGN_OR_RETURN(const AdapterFacts facts,
                   validator_->Finish(serving_.model.digest));
  ASSIGN_OR_RETURN(const CommitResult result, upload_->Commit(facts));
  *response_->mutable_adapter() = ToWire(result.record);
  response_->set_already_stored(result.already_stored);
  serving_.inspections->Add(result.record.digest);
  return absl::OkStatus();
}

void UploadReactor::HandleEnd() {
  // A client that vanished also ends the stream; only one that closed it in
  // order has asked for the commit.
  End(context_->IsCancelled()
          ? absl::CancelledError("the client cancelled the upload")
          : Commit());
}

void UploadReactor::End(const absl::Status& status) {
  guard_->Stop();
  upload_.reset();  // What was not committed goes before the client hears.
  serving_.metrics->CountRequest("RegisterAdapter", status.code());
  Finish(ToGrpcStatus(status));
}

void UploadReactor::OnDone() { delete this; }

}  // namespace stockpot
