// An UploadReactor takes one RegisterAdapter stream: metadata, then chunks,
// each checked and stored before the next is read. Deletes itself.
//
// One chunk is in memory at a time. Storage runs on the worker pool, so that
// the reaction never blocks. IdleWatch cuts a stream that says nothing, or too
// little. An upload with an upload_id whose stream breaks off is parked.

#ifndef STOCKPOT_SERVER_UPLOAD_REACTOR_H_
#define STOCKPOT_SERVER_UPLOAD_REACTOR_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "proto/stockpot/v1/registry.pb.h"

#include "server/idle_watch.h"
#include "server/serving.h"
#include "server/upload_session.h"
#include "server/worker_pool.h"

namespace stockpot {

class UploadReactor
    : public grpc::ServerReadReactor<v1::RegisterAdapterRequest> {
 public:
  // All must outlive the call.
  UploadReactor(grpc::CallbackServerContext* context, const Serving& serving,
                WorkerPool* pool, IdleWatch* idle,
                v1::RegisterAdapterResponse* response);

 private:
  // Whether another call may go on with the upload.
  enum class Afterwards { kDrop, kPark };

  void OnReadDone(bool ok) override;
  void OnDone() override;

  // On the worker pool, one at a time.
  void HandleMessage();
  void HandleEnd();
  absl::Status Begin(const v1::AdapterMetadata& metadata);
  // Sets session_ to what is kept under `metadata`'s upload_id, if anything is.
  absl::Status Resume(const v1::AdapterMetadata& metadata);
  absl::Status Append(const std::string& chunk);
  absl::Status Commit();

  // Ends the call for a client that was too slow. A read may be under way.
  void Cut(const absl::Status& status);
  // Called once.
  void End(const absl::Status& status, Afterwards afterwards);

  grpc::CallbackServerContext* const context_;
  const Serving& serving_;
  WorkerPool* const pool_;
  v1::RegisterAdapterResponse* const response_;
  std::shared_ptr<IdleWatch::Guard> guard_;
  v1::RegisterAdapterRequest message_;
  std::string claimed_id_;  // Empty: the upload cannot be resumed.
  std::unique_ptr<UploadSession> session_;
};

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_UPLOAD_REACTOR_H_
