// An UploadReactor takes one RegisterAdapter stream: metadata, then chunks,
// each checked and stored before the next is read. Deletes itself.
//
// One chunk is in memory at a time. Storage runs on the worker pool, so that
// the reaction never blocks. A stream that says nothing for kIdleTimeout is
// cut.

#ifndef STOCKPOT_SERVER_UPLOAD_REACTOR_H_
#define STOCKPOT_SERVER_UPLOAD_REACTOR_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "proto/stockpot/v1/registry.pb.h"

#include "merge/adapter_validator.h"
#include "registry/adapter_store.h"
#include "server/idle_watch.h"
#include "server/serving.h"
#include "server/worker_pool.h"

namespace stockpot {

class UploadReactor
    : public grpc::ServerReadReactor<v1::RegisterAdapterRequest> {
 public:
  static constexpr size_t kMaxChunkBytes = size_t{1} << 20;

  // All must outlive the call.
  UploadReactor(grpc::CallbackServerContext* context, const Serving& serving,
                WorkerPool* pool, IdleWatch* idle,
                v1::RegisterAdapterResponse* response);

 private:
  void OnReadDone(bool ok) override;
  void OnDone() override;

  // On the worker pool, one at a time.
  void HandleMessage();
  void HandleEnd();
  absl::Status Begin(const v1::AdapterMetadata& metadata);
  absl::Status Append(const std::string& chunk);
  absl::Status Commit();
  void End(const absl::Status& status);

  grpc::CallbackServerContext* const context_;
  const Serving& serving_;
  WorkerPool* const pool_;
  v1::RegisterAdapterResponse* const response_;
  std::shared_ptr<IdleWatch::Guard> guard_;
  v1::RegisterAdapterRequest message_;
  std::unique_ptr<AdapterValidator> validator_;
  std::unique_ptr<Upload> upload_;
};

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_UPLOAD_REACTOR_H_
