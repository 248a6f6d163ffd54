#include "server/admin_service.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/time/time.h"

#include "formats/adapter_kind.h"
#include "merge/merge_options.h"
#include "server/backup_reactor.h"
#include "server/grpc_status.h"
#include "server/resident.h"
#include "server/unary.h"
#include "server/verify_reactor.h"
#include "server/version.h"

namespace stockpot {
namespace {

void FillModel(const ModelFacts& model, v1::ServerInfo* info) {
  info->set_version(kVersion);
  info->set_base_model(model.name);
  info->set_base_model_digest(model.digest.ToHex());
  info->set_architecture(model.architecture);
  info->set_dtype(model.dtype);
  info->set_device(model.device);
  info->set_vocabulary_size(static_cast<uint32_t>(model.vocab_size));
  info->set_context_tokens(model.context_tokens);
  info->set_kv_cache_tokens(model.kv_cache_tokens);
  info->set_max_running_sequences(model.max_running_sequences);
  for (const MergeMethod method : AllMethods()) {
    info->add_methods(MethodName(method));
  }
  for (std::string& type : ServedPeftTypes()) {
    info->add_peft_types(std::move(type));
  }
}

void FillRegistry(RocksStore& registry, v1::RegistryStatus* status) {
  const StoreStats stats = registry.Stats();
  status->set_num_adapters(stats.num_adapters);
  status->set_num_recipes(stats.num_recipes);
  status->set_bytes(stats.bytes);
  status->set_num_damaged(stats.num_damaged);
  status->set_writable(stats.writable);
  if (const std::optional<absl::Time> end =
          registry.scrubber().stats().last_end) {
    status->mutable_last_verify_time()->set_seconds(absl::ToUnixSeconds(*end));
  }
}

}  // namespace

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

grpc::ServerUnaryReactor* AdminService::GetServerInfo(
    grpc::CallbackServerContext* context,
    const v1::GetServerInfoRequest* /*request*/, v1::ServerInfo* response) {
  return Run(context, "GetServerInfo", [response](const Serving& serving) {
    FillModel(serving.model, response);
    FillRegistry(*serving.registry, response->mutable_registry());
    return absl::OkStatus();
  });
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

grpc::ServerWriteReactor<v1::BackupRegistryResponse>*
AdminService::BackupRegistry(grpc::CallbackServerContext* context,
                             const v1::BackupRegistryRequest* /*request*/) {
  const Serving* serving = serving_->load();
  if (serving == nullptr) {
    return new EndedWriteReactor<v1::BackupRegistryResponse>(
        ToGrpcStatus(ModelIsLoading()));
  }
  return new BackupReactor(context, serving->registry, pool_, idle_, metrics_);
}

grpc::ServerWriteReactor<v1::VerifyRegistryResponse>*
AdminService::VerifyRegistry(grpc::CallbackServerContext* context,
                             const v1::VerifyRegistryRequest* request) {
  const Serving* serving = serving_->load();
  if (serving == nullptr) {
    return new EndedWriteReactor<v1::VerifyRegistryResponse>(
        ToGrpcStatus(ModelIsLoading()));
  }
  return new VerifyReactor(context, *request, &serving->registry->scrubber(),
                           idle_, metrics_);
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
