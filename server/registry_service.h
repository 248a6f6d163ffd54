// stockpot.v1.RegistryService.

#ifndef STOCKPOT_SERVER_REGISTRY_SERVICE_H_
#define STOCKPOT_SERVER_REGISTRY_SERVICE_H_

#include "proto/stockpot/v1/registry.grpc.pb.h"

#include "base/metrics.h"
#include "server/idle_watch.h"
#include "server/serving.h"
#include "server/worker_pool.h"

namespace stockpot {

class RegistryService : public v1::RegistryService::CallbackService {
 public:
  // All must outlive the service.
  RegistryService(const ServingSlot* serving, WorkerPool* pool, IdleWatch* idle,
                  Metrics* metrics)
      : serving_(serving), pool_(pool), idle_(idle), metrics_(metrics) {}

  grpc::ServerReadReactor<v1::RegisterAdapterRequest>* RegisterAdapter(
      grpc::CallbackServerContext* context,
      v1::RegisterAdapterResponse* response) override;
  grpc::ServerWriteReactor<v1::DownloadAdapterResponse>* DownloadAdapter(
      grpc::CallbackServerContext* context,
      const v1::DownloadAdapterRequest* request) override;
  grpc::ServerUnaryReactor* GetUpload(grpc::CallbackServerContext* context,
                                      const v1::GetUploadRequest* request,
                                      v1::GetUploadResponse* response) override;
  grpc::ServerUnaryReactor* GetAdapter(grpc::CallbackServerContext* context,
                                       const v1::GetAdapterRequest* request,
                                       v1::Adapter* response) override;
  grpc::ServerUnaryReactor* ListAdapters(
      grpc::CallbackServerContext* context,
      const v1::ListAdaptersRequest* request,
      v1::ListAdaptersResponse* response) override;
  grpc::ServerUnaryReactor* UpdateAdapter(
      grpc::CallbackServerContext* context,
      const v1::UpdateAdapterRequest* request, v1::Adapter* response) override;
  grpc::ServerUnaryReactor* SetAlias(grpc::CallbackServerContext* context,
                                     const v1::SetAliasRequest* request,
                                     v1::Adapter* response) override;
  grpc::ServerUnaryReactor* DeleteAlias(
      grpc::CallbackServerContext* context,
      const v1::DeleteAliasRequest* request,
      v1::DeleteAliasResponse* response) override;
  grpc::ServerUnaryReactor* DeleteAdapter(
      grpc::CallbackServerContext* context,
      const v1::DeleteAdapterRequest* request,
      v1::DeleteAdapterResponse* response) override;
  grpc::ServerUnaryReactor* UndeleteAdapter(
      grpc::CallbackServerContext* context,
      const v1::UndeleteAdapterRequest* request,
      v1::Adapter* response) override;

  grpc::ServerUnaryReactor* SaveRecipe(grpc::CallbackServerContext* context,
                                       const v1::SaveRecipeRequest* request,
                                       v1::SavedRecipe* response) override;
  grpc::ServerUnaryReactor* GetRecipe(grpc::CallbackServerContext* context,
                                      const v1::GetRecipeRequest* request,
                                      v1::SavedRecipe* response) override;
  grpc::ServerUnaryReactor* ListRecipes(
      grpc::CallbackServerContext* context,
      const v1::ListRecipesRequest* request,
      v1::ListRecipesResponse* response) override;
  grpc::ServerUnaryReactor* DeleteRecipe(
      grpc::CallbackServerContext* context,
      const v1::DeleteRecipeRequest* request,
      v1::DeleteRecipeResponse* response) override;
  grpc::ServerUnaryReactor* SetRecipeAlias(grpc::CallbackServerContext* context,
                                           const v1::SetAliasRequest* request,
                                           v1::SavedRecipe* response) override;
  grpc::ServerUnaryReactor* DeleteRecipeAlias(
      grpc::CallbackServerContext* context,
      const v1::DeleteAliasRequest* request,
      v1::DeleteAliasResponse* response) override;

  // Not built yet.
  grpc::ServerWriteReactor<v1::DownloadAdapterResponse>* ExportRecipe(
      grpc::CallbackServerContext* context,
      const v1::ExportRecipeRequest* request) override;

 private:
  // Runs work(serving) on the pool once the registry is open.
  template <typename Work>
  grpc::ServerUnaryReactor* Run(grpc::CallbackServerContext* context,
                                const char* method, Work work);

  const ServingSlot* const serving_;
  WorkerPool* const pool_;
  IdleWatch* const idle_;
  Metrics* const metrics_;
};

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_REGISTRY_SERVICE_H_
