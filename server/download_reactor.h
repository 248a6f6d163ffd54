// A DownloadReactor streams one adapter, stored or exported: metadata, then its
// bytes. Reads ahead of nothing: the next chunk is made when the last is
// written. A client that takes nothing for IdleWatch's timeout is cut: what it
// reads stays pinned until its call ends. Deletes itself.

#ifndef STOCKPOT_SERVER_DOWNLOAD_REACTOR_H_
#define STOCKPOT_SERVER_DOWNLOAD_REACTOR_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "proto/stockpot/v1/registry.pb.h"

#include "server/idle_watch.h"
#include "server/serving.h"
#include "server/worker_pool.h"

namespace stockpot {

// What is streamed. `next` sets a chunk of at most 1 MiB and returns true, or
// returns false after the last; it owns what it reads.
struct AdapterStream {
  v1::AdapterMetadata metadata;
  std::function<absl::StatusOr<bool>(std::string* chunk)> next;
};

class DownloadReactor
    : public grpc::ServerWriteReactor<v1::DownloadAdapterResponse> {
 public:
  using Open = std::function<absl::StatusOr<AdapterStream>()>;

  // `open` and the stream run on the pool and may block. `method` is a literal,
  // for the metrics. Watch, metrics and pool must outlive the call.
  DownloadReactor(grpc::CallbackServerContext* context, const char* method,
                  Metrics* metrics, WorkerPool* pool, IdleWatch* idle,
                  Open open);

 private:
  void OnWriteDone(bool ok) override;
  void OnDone() override;

  // On the worker pool.
  void Begin();
  void WriteChunk();
  void Run(void (DownloadReactor::*step)());
  void End(const absl::Status& status);

  const char* const method_;
  Metrics* const metrics_;
  WorkerPool* const pool_;
  const std::shared_ptr<IdleWatch::Guard> guard_;
  Open open_;
  AdapterStream stream_;
  v1::DownloadAdapterResponse message_;
};

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_DOWNLOAD_REACTOR_H_
