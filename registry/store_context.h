// What the parts of one RocksStore share. The store owns it and destroys it
// last.
//
// Lock order: commit_mu, then a RocksDb::Use, then the locks inside `blobs`,
// `ledger`, `namespaces` and `db`.

#ifndef STOCKPOT_REGISTRY_STORE_CONTEXT_H_
#define STOCKPOT_REGISTRY_STORE_CONTEXT_H_

#include <atomic>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "base/digest.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "registry/adapter_index.h"
#include "registry/blob_table.h"
#include "registry/namespace_ledger.h"
#include "registry/rocks_db.h"
#include "registry/rocks_store.h"
#include "registry/upload_ledger.h"

namespace stockpot {

struct StoreContext {
  explicit StoreContext(RocksStoreOptions store_options)
      : options(std::move(store_options)),
        ledger({options.max_bytes, options.reserve_bytes, options.max_uploads}),
        namespaces(options.quotas) {}

  const RocksStoreOptions options;  // `log` and `clock` are set.
  UploadLedger ledger;
  NamespaceLedger namespaces;
  BlobTable blobs;
  std::unique_ptr<RocksDb> db;
  // Held while names are decided on and written: one commit at a time.
  Mutex commit_mu;
  // True while a RegistryBackup lives; there is at most one.
  std::atomic<bool> backup_lives = false;

  // Opens the database again if an earlier write failed.
  // REQUIRES: the thread holds neither commit_mu nor a Use.
  absl::Status EnsureWritable() {
    return db->needs_reopen() ? db->Reopen() : absl::OkStatus();
  }
};

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_STORE_CONTEXT_H_
