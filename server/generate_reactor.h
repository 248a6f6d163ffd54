// A GenerateReactor carries one Generate call's output from the engine to the
// client. Deletes itself once gRPC is done with it.
//
// The engine never waits for it: output queues here, at most kMaxPendingBytes,
// while one message is being written. A reader who lets the queue overflow
// loses the call, not the daemon.

#ifndef STOCKPOT_SERVER_GENERATE_REACTOR_H_
#define STOCKPOT_SERVER_GENERATE_REACTOR_H_

#include <deque>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "proto/stockpot/v1/generation.pb.h"

#include "base/mutex.h"
#include "engine/engine.h"
#include "server/serving.h"

namespace stockpot {

class GenerateReactor : public grpc::ServerWriteReactor<v1::GenerateResponse> {
 public:
  static constexpr size_t kMaxPendingBytes = size_t{1} << 20;

  // Starts the call. `serving` outlives it; `request` is copied.
  GenerateReactor(grpc::CallbackServerContext* context, const Serving& serving,
                  const v1::GenerateRequest& request);

 private:
  // The engine's view of the call. Its own object, because the engine may drop
  // it after the reactor is gone.
  class Sink;

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  // Whether the client has cancelled.
  bool IsCancelled() ABSL_LOCKS_EXCLUDED(mu_);

  // From the sink, on an engine thread.
  bool Enqueue(v1::GenerateResponse response);
  bool Append(v1::GenerateResponse response) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void End(const absl::Status& status);

  // Moves the next message, if there is one and none is being written, to
  // writing_; then the caller sees to StartWrite(), without the lock.
  bool TakeNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Serving& serving_;
  std::shared_ptr<const v1::ResolvedRecipe> recipe_;  // Set by preparation.

  Mutex mu_;
  std::shared_ptr<Engine::Ticket> ticket_ ABSL_GUARDED_BY(mu_);
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<v1::GenerateResponse> pending_ ABSL_GUARDED_BY(mu_);
  size_t pending_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  // While it is true, gRPC alone reads writing_, and the reactor lives.
  bool is_writing_ ABSL_GUARDED_BY(mu_) = false;
  v1::GenerateResponse writing_;
  bool client_gone_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mu_);
};

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_GENERATE_REACTOR_H_
