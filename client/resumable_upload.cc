#include "client/resumable_upload.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include "proto/stockpot/v1/registry.grpc.pb.h"

#include "base/sha256.h"
#include "base/status_macros.h"
#include "client/adapter_directory.h"
#include "client/progress_bar.h"
#include "client/text.h"

namespace stockpot {
namespace {

// One upload over as many calls as it takes. Not thread-safe.
class ResumableUpload {
 public:
  ResumableUpload(v1::AdapterMetadata metadata,
                  const std::filesystem::path& weights,
                  const Connection& connection, Terminal& terminal)
      : metadata_(std::move(metadata)),
        weights_(weights),
        connection_(connection),
        terminal_(terminal),
        stub_(v1::RegistryService::NewStub(connection.channel())) {}

  absl::StatusOr<v1::RegisterAdapterResponse> Run(const RetryRule& rule);

 private:
  // Sets where the next call starts: what the server has, or 0.
  absl::Status AskOffset();
  absl::Status Send(v1::RegisterAdapterResponse* response);
  // Whether another call may end better than this one did.
  bool IsBreak(const absl::Status& status) const;
  // Says what happened, and waits.
  void Pause(const absl::Status& status, absl::Duration pause);

  v1::AdapterMetadata metadata_;
  const std::filesystem::path& weights_;
  const Connection& connection_;
  Terminal& terminal_;
  const std::unique_ptr<v1::RegistryService::Stub> stub_;
  uint64_t offset_ = 0;      // Of the call under way.
  bool has_sent_ = false;    // A byte, in any call.
  bool was_broken_ = false;  // Any call.
};

absl::Status ResumableUpload::AskOffset() {
  v1::GetUploadRequest request;
  request.set_upload_id(metadata_.upload_id());
  v1::GetUploadResponse response;
  const absl::Status status =
      connection_.Call([&](grpc::ClientContext* context) {
        return stub_->GetUpload(context, request, &response);
      });
  offset_ = status.ok() ? response.received_bytes() : 0;
  // An older server has no such call, and takes uploads from the start.
  return absl::IsNotFound(status) || absl::IsUnimplemented(status)
             ? absl::OkStatus()
             : status;
}

absl::Status ResumableUpload::Send(v1::RegisterAdapterResponse* response) {
  metadata_.set_resume_offset(offset_);
  ProgressBar bar(terminal_.progress(),
                  offset_ == 0 && !was_broken_ ? "uploading" : "resuming",
                  metadata_.size_bytes(), terminal_.columns, offset_);
  absl::Status read;
  const absl::Status call = connection_.Call([&](grpc::ClientContext* context) {
    const auto writer = stub_->RegisterAdapter(context, response);
    v1::RegisterAdapterRequest request;
    *request.mutable_metadata() = metadata_;
    // A write fails when the server has answered early; Finish() says what.
    if (writer->Write(request)) {
      uint64_t num_sent = offset_;
      read = ForEachChunk(
          weights_,
          [&](absl::string_view chunk) {
            request.mutable_chunk()->assign(chunk.data(), chunk.size());
            num_sent += chunk.size();
            bar.Update(num_sent);
            has_sent_ = true;
            return writer->Write(request);
          },
          offset_);
    }
    if (!read.ok()) {
      context->TryCancel();
    }
    writer->WritesDone();
    return writer->Finish();
  });
  RETURN_IF_ERROR(read);
  return call;
}

bool ResumableUpload::IsBreak(const absl::Status& status) const {
  switch (status.code()) {
    case absl::StatusCode::kAborted:  // The server still serves an older call.
      return true;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kInternal:  // As gRPC calls a stream that was reset.
    case absl::StatusCode::kUnknown:
      return has_sent_;
    case absl::StatusCode::kDeadlineExceeded:
      return has_sent_ && !connection_.timeout().has_value();
    case absl::StatusCode::kFailedPrecondition:  // It has more, or less.
    case absl::StatusCode::kNotFound:            // It waited too long.
      return offset_ != 0;
    default:
      return false;
  }
}

void ResumableUpload::Pause(const absl::Status& status, absl::Duration pause) {
  was_broken_ = true;
  terminal_.err << "the upload broke off ("
                << absl::StatusCodeToString(status.code()) << ": "
                << PrintableText(status.message()) << "); going on in "
                << absl::FormatDuration(pause) << '\n'
                << std::flush;
  absl::SleepFor(pause);
}

absl::StatusOr<v1::RegisterAdapterResponse> ResumableUpload::Run(
    const RetryRule& rule) {
  int num_breaks = 0;
  uint64_t furthest = 0;
  while (true) {
    absl::Status status = AskOffset();
    if (status.ok()) {
      if (offset_ > furthest) {
        furthest = offset_;
        num_breaks = 0;
      }
      v1::RegisterAdapterResponse response;
      status = Send(&response);
      if (status.ok()) {
        return response;
      }
    }
    if (!IsBreak(status) || ++num_breaks > rule.max_breaks) {
      return status;
    }
    // Bounded before the shift: the pause stays far below its overflow.
    Pause(status,
          std::min(rule.max_pause,
                   rule.first_pause * (1 << std::min(num_breaks - 1, 16))));
  }
}

}  // namespace

std::string UploadIdOf(const v1::AdapterMetadata& metadata,
                       absl::string_view address) {
  char host[256] = {};
  (void)gethostname(host, sizeof(host) - 1);
  Sha256 hash;
  hash.UpdateFramed("stockpot upload");
  hash.UpdateFramed(host);
  hash.UpdateU64(getuid());
  hash.UpdateFramed(address);
  hash.UpdateFramed(metadata.name());
  hash.UpdateU64(
      static_cast<uint64_t>(metadata.has_version() ? metadata.version() : 0));
  hash.UpdateU64(metadata.size_bytes());
  hash.UpdateFramed(metadata.sha256());
  hash.UpdateFramed(metadata.adapter_config());
  const std::map<std::string, std::string> labels(metadata.labels().begin(),
                                                  metadata.labels().end());
  hash.UpdateU64(labels.size());
  for (const auto& [key, value] : labels) {
    hash.UpdateFramed(key);
    hash.UpdateFramed(value);
  }
  hash.UpdateFramed(metadata.description());
  hash.UpdateFramed(metadata.card());
  hash.UpdateFramed(metadata.license());
  hash.UpdateFramed(metadata.signature());
  return hash.Finish().ToHex();
}

absl::StatusOr<v1::RegisterAdapterResponse> UploadAdapter(
    v1::AdapterMetadata metadata, const std::filesystem::path& weights,
    const Connection& connection, Terminal& terminal, const RetryRule& rule) {
  metadata.set_upload_id(UploadIdOf(metadata, connection.address()));
  return ResumableUpload(std::move(metadata), weights, connection, terminal)
      .Run(rule);
}

}  // namespace stockpot
