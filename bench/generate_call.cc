#include "bench/generate_call.h"

#include <utility>

namespace stockpot {

using stockpot::v1::GenerateRequest;
using stockpot::v1::GenerationService;

void GenerateCall::Start(GenerationService::Stub& stub, GenerateRequest request,
                         SteadyTime start, std::chrono::nanoseconds timeout,
                         Done done) {
  auto* call = new GenerateCall(std::move(request), start, std::move(done));
  call->context_.set_deadline(
      std::chrono::system_clock::now() +
      std::chrono::duration_cast<std::chrono::system_clock::duration>(timeout));
  stub.async()->Generate(&call->context_, &call->request_, call);
  call->StartRead(&call->response_);
  call->StartCall();
}

GenerateCall::GenerateCall(GenerateRequest request, SteadyTime start, Done done)
    : request_(std::move(request)), done_(std::move(done)) {
  record_.start = start;
  record_.prompt_tokens = request_.prompt().token_ids().ids_size();
}

void GenerateCall::OnReadDone(bool ok) {
  if (!ok) {
    return;
  }
  if (response_.has_delta() && response_.delta().tokens_size() > 0) {
    record_.arrivals.push_back(
        {std::chrono::steady_clock::now(), response_.delta().tokens_size()});
  }
  StartRead(&response_);
}

void GenerateCall::OnDone(const grpc::Status& status) {
  record_.end = std::chrono::steady_clock::now();
  record_.code = static_cast<absl::StatusCode>(status.error_code());
  record_.message = status.error_message();
  const Done done = done_;
  CallRecord record = std::move(record_);
  delete this;
  done(std::move(record));
}

}  // namespace stockpot
