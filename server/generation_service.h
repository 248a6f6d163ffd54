// stockpot.v1.GenerationService.

#ifndef STOCKPOT_SERVER_GENERATION_SERVICE_H_
#define STOCKPOT_SERVER_GENERATION_SERVICE_H_

#include "proto/stockpot/v1/generation.grpc.pb.h"

#include "base/metrics.h"
#include "server/serving.h"
#include "server/worker_pool.h"

namespace stockpot {

class GenerationService : public v1::GenerationService::CallbackService {
 public:
  // All must outlive the service.
  GenerationService(const ServingSlot* serving, WorkerPool* pool,
                    Metrics* metrics)
      : serving_(serving), pool_(pool), metrics_(metrics) {}

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(
      grpc::CallbackServerContext* context,
      const v1::GenerateRequest* request) override;
  grpc::ServerUnaryReactor* Score(grpc::CallbackServerContext* context,
                                  const v1::ScoreRequest* request,
                                  v1::ScoreResponse* response) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const v1::TokenizeRequest* request,
                                     v1::TokenizeResponse* response) override;
  grpc::ServerUnaryReactor* Detokenize(
      grpc::CallbackServerContext* context,
      const v1::DetokenizeRequest* request,
      v1::DetokenizeResponse* response) override;
  grpc::ServerUnaryReactor* RenderChat(
      grpc::CallbackServerContext* context,
      const v1::RenderChatRequest* request,
      v1::RenderChatResponse* response) override;

 private:
  const ServingSlot* const serving_;
  WorkerPool* const pool_;
  Metrics* const metrics_;
};

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_GENERATION_SERVICE_H_
