#include "server/generation_service.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "base/status_macros.h"
#include "server/generate_reactor.h"
#include "server/generate_request.h"
#include "server/grpc_status.h"
#include "server/unary.h"

namespace stockpot {

namespace {

absl::Status Detokenize(const v1::DetokenizeRequest& request,
                        const Serving& serving,
                        v1::DetokenizeResponse* response) {
  std::vector<int32_t> ids;
  ids.reserve(request.ids_size());
  for (int i = 0; i < request.ids_size(); ++i) {
    if (request.ids(i) >= static_cast<uint32_t>(serving.model.vocab_size)) {
      return absl::InvalidArgumentError(
          absl::StrCat("ids[", i, "] is ", request.ids(i),
                       "; the vocabulary has ", serving.model.vocab_size));
    }
    ids.push_back(static_cast<int32_t>(request.ids(i)));
  }
  ASSIGN_OR_RETURN(*response->mutable_text(),
                   serving.tokenizer->Decode(
                       ids, /*skip_special=*/!request.keep_special_tokens()));
  return absl::OkStatus();
}

absl::Status Tokenize(const v1::TokenizeRequest& request,
                      const Serving& serving, v1::TokenizeResponse* response) {
  ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                   PromptIds(request.prompt(), serving));
  response->mutable_ids()->Add(ids.begin(), ids.end());
  return absl::OkStatus();
}

}  // namespace

grpc::ServerWriteReactor<v1::GenerateResponse>* GenerationService::Generate(
    grpc::CallbackServerContext* context, const v1::GenerateRequest* request) {
  const Serving* serving = serving_->load();
  if (serving == nullptr) {
    metrics_->CountRequest("Generate", absl::StatusCode::kUnavailable);
    return new EndedWriteReactor<v1::GenerateResponse>(
        ToGrpcStatus(ModelIsLoading()));
  }
  return new GenerateReactor(context, *serving, *request);
}

grpc::ServerUnaryReactor* GenerationService::Tokenize(
    grpc::CallbackServerContext* context, const v1::TokenizeRequest* request,
    v1::TokenizeResponse* response) {
  return RunUnary(context, pool_, metrics_, "Tokenize", [=, this] {
    const Serving* serving = serving_->load();
    return serving == nullptr
               ? ModelIsLoading()
               : stockpot::Tokenize(*request, *serving, response);
  });
}

grpc::ServerUnaryReactor* GenerationService::Detokenize(
    grpc::CallbackServerContext* context, const v1::DetokenizeRequest* request,
    v1::DetokenizeResponse* response) {
  return RunUnary(context, pool_, metrics_, "Detokenize", [=, this] {
    const Serving* serving = serving_->load();
    return serving == nullptr
               ? ModelIsLoading()
               : stockpot::Detokenize(*request, *serving, response);
  });
}

grpc::ServerUnaryReactor* GenerationService::Score(
    grpc::CallbackServerContext* context, const v1::ScoreRequest* /*request*/,
    v1::ScoreResponse* /*response*/) {
  return EndNotBuilt(context, "Score");
}

grpc::ServerUnaryReactor* GenerationService::RenderChat(
    grpc::CallbackServerContext* context,
    const v1::RenderChatRequest* /*request*/,
    v1::RenderChatResponse* /*response*/) {
  return EndNotBuilt(context, "RenderChat");
}

}  // namespace stockpot
