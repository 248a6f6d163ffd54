// stockpot.v1.AdminService and, until it is built, LearningService.

#ifndef STOCKPOT_SERVER_ADMIN_SERVICE_H_
#define STOCKPOT_SERVER_ADMIN_SERVICE_H_

#include <functional>

#include "proto/stockpot/v1/admin.grpc.pb.h"
#include "proto/stockpot/v1/learning.grpc.pb.h"

#include "base/metrics.h"
#include "server/idle_watch.h"
#include "server/serving.h"
#include "server/worker_pool.h"

namespace stockpot {

class AdminService : public v1::AdminService::CallbackService {
 public:
  // All must outlive the service. `drain` makes the daemon drain and returns at
  // once.
  AdminService(const ServingSlot* serving, WorkerPool* pool, IdleWatch* idle,
               Metrics* metrics, std::function<void()> drain)
      : serving_(serving),
        pool_(pool),
        idle_(idle),
        metrics_(metrics),
        drain_(std::move(drain)) {}

  grpc::ServerUnaryReactor* GetServerInfo(
      grpc::CallbackServerContext* context,
      const v1::GetServerInfoRequest* request,
      v1::ServerInfo* response) override;
  grpc::ServerUnaryReactor* Drain(grpc::CallbackServerContext* context,
                                  const v1::DrainRequest* request,
                                  v1::DrainResponse* response) override;
  grpc::ServerUnaryReactor* ListResident(
      grpc::CallbackServerContext* context,
      const v1::ListResidentRequest* request,
      v1::ListResidentResponse* response) override;
  grpc::ServerUnaryReactor* WarmRecipe(grpc::CallbackServerContext* context,
                                       const v1::WarmRecipeRequest* request,
                                       v1::ResolvedRecipe* response) override;
  grpc::ServerUnaryReactor* PinRecipe(grpc::CallbackServerContext* context,
                                      const v1::PinRecipeRequest* request,
                                      v1::ResolvedRecipe* response) override;
  grpc::ServerUnaryReactor* UnpinRecipe(grpc::CallbackServerContext* context,
                                        const v1::UnpinRecipeRequest* request,
                                        v1::ResolvedRecipe* response) override;
  grpc::ServerWriteReactor<v1::BackupRegistryResponse>* BackupRegistry(
      grpc::CallbackServerContext* context,
      const v1::BackupRegistryRequest* request) override;
  grpc::ServerWriteReactor<v1::VerifyRegistryResponse>* VerifyRegistry(
      grpc::CallbackServerContext* context,
      const v1::VerifyRegistryRequest* request) override;

 private:
  // Runs work(serving) on the pool once the model is loaded.
  template <typename Work>
  grpc::ServerUnaryReactor* Run(grpc::CallbackServerContext* context,
                                const char* method, Work work);

  const ServingSlot* const serving_;
  WorkerPool* const pool_;
  IdleWatch* const idle_;
  Metrics* const metrics_;
  const std::function<void()> drain_;
};

// Not built yet: each method says so.

class LearningService : public v1::LearningService::CallbackService {
 public:
  grpc::ServerWriteReactor<v1::LearnRecipeResponse>* LearnRecipe(
      grpc::CallbackServerContext* context,
      const v1::LearnRecipeRequest* request) override;
  grpc::ServerWriteReactor<v1::EvaluateRecipeResponse>* EvaluateRecipe(
      grpc::CallbackServerContext* context,
      const v1::EvaluateRecipeRequest* request) override;
  grpc::ServerUnaryReactor* InspectAdapters(
      grpc::CallbackServerContext* context,
      const v1::InspectAdaptersRequest* request,
      v1::InspectAdaptersResponse* response) override;
};

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_ADMIN_SERVICE_H_
