// A BackupReactor streams the registry's files, each ended by its hash. Reads
// ahead of nothing: the next chunk is read when the last is written, so that a
// backup of any size takes one chunk of memory. Deletes itself.
//
// The files' links are given back before the call ends, whichever way it ends:
// who sees the end may begin the next backup. A client that takes nothing for
// IdleWatch's timeout is cut.

#ifndef STOCKPOT_SERVER_BACKUP_REACTOR_H_
#define STOCKPOT_SERVER_BACKUP_REACTOR_H_

#include <cstddef>
#include <memory>

#include "absl/status/status.h"
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "proto/stockpot/v1/admin.pb.h"

#include "base/metrics.h"
#include "registry/registry_backup.h"
#include "registry/rocks_store.h"
#include "server/idle_watch.h"
#include "server/worker_pool.h"

namespace stockpot {

class BackupReactor
    : public grpc::ServerWriteReactor<v1::BackupRegistryResponse> {
 public:
  // All must outlive the call.
  BackupReactor(grpc::CallbackServerContext* context, RocksStore* registry,
                WorkerPool* pool, IdleWatch* idle, Metrics* metrics);

 private:
  void OnWriteDone(bool ok) override;
  void OnDone() override;

  // Runs `step` on the pool, where it may block.
  void Run(void (BackupReactor::*step)());
  void Begin();
  void SendPart();
  // Fills in what comes next.
  absl::Status NextPart();
  void Complete() { End(absl::OkStatus()); }
  void Abandon() { End(absl::CancelledError("the client is gone")); }
  void End(const absl::Status& status);

  RocksStore* const registry_;
  WorkerPool* const pool_;
  Metrics* const metrics_;
  const std::shared_ptr<IdleWatch::Guard> guard_;
  std::unique_ptr<RegistryBackup> backup_;
  size_t num_ended_ = 0;                      // Files sent.
  std::unique_ptr<BackupFileReader> reader_;  // Of the file being sent.
  v1::BackupRegistryResponse message_;
};

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_BACKUP_REACTOR_H_
