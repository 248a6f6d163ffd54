// A DownloadReactor streams one stored adapter: metadata, then its bytes. Reads
// ahead of nothing: the next chunk is read when the last is written. Deletes
// itself.

#ifndef STOCKPOT_SERVER_DOWNLOAD_REACTOR_H_
#define STOCKPOT_SERVER_DOWNLOAD_REACTOR_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include <grpcpp/support/server_callback.h>

#include "proto/stockpot/v1/registry.pb.h"

#include "registry/adapter_store.h"
#include "server/serving.h"
#include "server/worker_pool.h"

namespace stockpot {

class DownloadReactor
    : public grpc::ServerWriteReactor<v1::DownloadAdapterResponse> {
 public:
  // Both must outlive the call.
  DownloadReactor(const Serving& serving, WorkerPool* pool,
                  std::string adapter);

 private:
  void OnWriteDone(bool ok) override;
  void OnDone() override;

  // On the worker pool.
  void Begin();
  void WriteChunk();
  absl::Status Open();
  void Run(void (DownloadReactor::*step)());
  void End(const absl::Status& status);

  const Serving& serving_;
  WorkerPool* const pool_;
  const std::string adapter_;
  std::unique_ptr<BlobReader> blob_;
  v1::DownloadAdapterResponse message_;
};

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_DOWNLOAD_REACTOR_H_
