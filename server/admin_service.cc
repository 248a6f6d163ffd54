#include "server/admin_service.h"

#include <string>
#include <utility>

#include "formats/adapter_kind.h"
#include "merge/merge_options.h"
#include "server/grpc_status.h"
#include "server/resident.h"
#include "server/unary.h"
#include "server/version.h"

namespace stockpot {

grpc::ServerUnaryReactor* AdminService::GetServerInfo(
    grpc::CallbackServerContext* context,
    const v1::GetServerInfoRequest* /*request*/, v1::ServerInfo* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const Serving* serving = serving_->load();
  response->set_version(kVersion);
  if (serving == nullptr) {
    reactor->Finish(ToGrpcStatus(ModelIsLoading()));
    return reactor;
  }
  const ModelFacts& model = serving->model;
  response->set_base_model(model.name);
  response->set_base_model_digest(model.digest.ToHex());
  response->set_architecture(model.architecture);
  response->set_dtype(model.dtype);
  response->set_device(model.device);
  response->set_context_tokens(model.context_tokens);
  response->set_kv_cache_tokens(model.kv_cache_tokens);
  response->set_max_running_sequences(model.max_running_sequences);
  for (const MergeMethod method : AllMethods()) {
    response->add_methods(MethodName(method));
  }
  for (std::string& type : ServedPeftTypes()) {
    response->add_peft_types(std::move(type));
  }
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerUnaryReactor* AdminService::Drain(
    grpc::CallbackServerContext* context, const v1::DrainRequest* /*request*/,
    v1::DrainResponse* response) {
  if (const Serving* serving = serving_->load(); serving != nullptr) {
    response->set_running(serving->engine->num_calls());
  }
  drain_();
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

template <typename Work>
grpc::ServerUnaryReactor* AdminService::Run(
    grpc::CallbackServerContext* context, const char* method, Work work) {
  return RunUnary(context, pool_, metrics_, method,
                  [this, work = std::move(work)]() -> absl::Status {
                    const Serving* serving = serving_->load();
                    return serving == nullptr ? ModelIsLoading()
                                              : work(*serving);
                  });
}

grpc::ServerUnaryReactor* AdminService::ListResident(
    grpc::CallbackServerContext* context,
    const v1::ListResidentRequest* /*request*/,
    v1::ListResidentResponse* response) {
  return Run(context, "ListResident", [response](const Serving& serving) {
    return stockpot::ListResident(serving, response);
  });
}

grpc::ServerUnaryReactor* AdminService::WarmRecipe(
    grpc::CallbackServerContext* context, const v1::WarmRecipeRequest* request,
    v1::ResolvedRecipe* response) {
  return Run(context, "WarmRecipe", [=](const Serving& serving) {
    return stockpot::WarmRecipe(
        *request, serving, [context] { return context->IsCancelled(); },
        response);
  });
}

grpc::ServerUnaryReactor* AdminService::PinRecipe(
    grpc::CallbackServerContext* context, const v1::PinRecipeRequest* request,
    v1::ResolvedRecipe* response) {
  return Run(context, "PinRecipe", [=](const Serving& serving) {
    return stockpot::PinRecipe(
        *request, serving, [context] { return context->IsCancelled(); },
        response);
  });
}

grpc::ServerUnaryReactor* AdminService::UnpinRecipe(
    grpc::CallbackServerContext* context, const v1::UnpinRecipeRequest* request,
    v1::ResolvedRecipe* response) {
  return Run(context, "UnpinRecipe", [=](const Serving& serving) {
    return stockpot::UnpinRecipe(*request, serving, response);
  });
}

grpc::ServerWriteReactor<v1::LearnRecipeResponse>* LearningService::LearnRecipe(
    grpc::CallbackServerContext* /*context*/,
    const v1::LearnRecipeRequest* /*request*/) {
  return new EndedWriteReactor<v1::LearnRecipeResponse>(
      NotBuiltYet("LearnRecipe"));
}

grpc::ServerWriteReactor<v1::EvaluateRecipeResponse>*
LearningService::EvaluateRecipe(grpc::CallbackServerContext* /*context*/,
                                const v1::EvaluateRecipeRequest* /*request*/) {
  return new EndedWriteReactor<v1::EvaluateRecipeResponse>(
      NotBuiltYet("EvaluateRecipe"));
}

grpc::ServerUnaryReactor* LearningService::InspectAdapters(
    grpc::CallbackServerContext* context,
    const v1::InspectAdaptersRequest* /*request*/,
    v1::InspectAdaptersResponse* /*response*/) {
  return EndNotBuilt(context, "InspectAdapters");
}

}  // namespace stockpot
