// Runs a unary method on the worker pool: parse, call one function, convert the
// status, count.

#ifndef STOCKPOT_SERVER_UNARY_H_
#define STOCKPOT_SERVER_UNARY_H_

#include <utility>

#include "absl/status/status.h"
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "base/metrics.h"
#include "server/grpc_status.h"
#include "server/worker_pool.h"

namespace stockpot {

// `work` returns an absl::Status and may block; what it refers to must live
// until the call ends, as request and response do.
template <typename Work>
grpc::ServerUnaryReactor* RunUnary(grpc::CallbackServerContext* context,
                                   WorkerPool* pool, Metrics* metrics,
                                   const char* method, Work work) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto end = [reactor, metrics, method](const absl::Status& status) {
    metrics->CountRequest(method, status.code());
    reactor->Finish(ToGrpcStatus(status));
  };
  const bool queued =
      pool->Run([end, work = std::move(work)]() mutable { end(work()); });
  if (!queued) {
    end(absl::ResourceExhaustedError("too many calls wait; retry later"));
  }
  return reactor;
}

// Ends a unary call of a method that is not built yet.
inline grpc::ServerUnaryReactor* EndNotBuilt(
    grpc::CallbackServerContext* context, const char* method) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(NotBuiltYet(method));
  return reactor;
}

// Ends a stream of messages to the client likewise.
template <typename Response>
class EndedWriteReactor : public grpc::ServerWriteReactor<Response> {
 public:
  explicit EndedWriteReactor(const grpc::Status& status) {
    this->Finish(status);
  }
  void OnDone() override { delete this; }
};

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_UNARY_H_
