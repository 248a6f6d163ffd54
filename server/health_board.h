// The HealthBoard says over grpc.health.v1, and in the gauge stockpot_ready,
// what the daemon can do now. Thread-safe.
//
// "" and each service of stockpot.v1 are SERVING together; but a registry whose
// disk failed or is full takes RegistryService alone off, because Generate goes
// on without it.

#ifndef STOCKPOT_SERVER_HEALTH_BOARD_H_
#define STOCKPOT_SERVER_HEALTH_BOARD_H_

#include "absl/base/thread_annotations.h"
#include <grpcpp/health_check_service_interface.h>

#include "base/metrics.h"
#include "base/mutex.h"

namespace stockpot {

class HealthBoard {
 public:
  // Begins with NOT_SERVING everywhere. Both must outlive the board.
  HealthBoard(grpc::HealthCheckServiceInterface* health, Metrics* metrics);

  void SetServing(bool serving) ABSL_LOCKS_EXCLUDED(mu_);
  void SetRegistryWritable(bool writable) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void Publish() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  grpc::HealthCheckServiceInterface* const health_;
  Metrics* const metrics_;
  Mutex mu_;
  bool serving_ ABSL_GUARDED_BY(mu_) = false;
  bool registry_writable_ ABSL_GUARDED_BY(mu_) = true;
};

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_HEALTH_BOARD_H_
