#include "server/health_board.h"

namespace stockpot {

HealthBoard::HealthBoard(grpc::HealthCheckServiceInterface* health,
                         Metrics* metrics)
    : health_(health), metrics_(metrics) {
  MutexLock lock(&mu_);
  Publish();
}

void HealthBoard::SetServing(bool serving) {
  MutexLock lock(&mu_);
  serving_ = serving;
  Publish();
}

void HealthBoard::SetRegistryWritable(bool writable) {
  MutexLock lock(&mu_);
  registry_writable_ = writable;
  Publish();
}

void HealthBoard::Publish() {
  metrics_->ready.Set(serving_ ? 1 : 0);
  for (const char* service :
       {"", "stockpot.v1.GenerationService", "stockpot.v1.LearningService",
        "stockpot.v1.AdminService"}) {
    health_->SetServingStatus(service, serving_);
  }
  health_->SetServingStatus("stockpot.v1.RegistryService",
                            serving_ && registry_writable_);
}

}  // namespace stockpot
