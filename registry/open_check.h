// What is checked before RocksDB may open a registry for writing: that removes
// files which look superfluous to it, among them all tables and blobs when
// CURRENT or the end of the MANIFEST was lost.

#ifndef STOCKPOT_REGISTRY_OPEN_CHECK_H_
#define STOCKPOT_REGISTRY_OPEN_CHECK_H_

#include <string>

#include "absl/status/status.h"
#include "rocksdb/options.h"

#include "registry/commit_witness.h"
#include "registry/rocks_db.h"

namespace stockpot {

// Looks at the database in the folder `path`, changes nothing in it, and sets
// `options` for opening it: create_if_missing only if nothing was ever there;
// and a wal_recovery_mode that drops what follows damage in the log only if
// all that `witness` saw acknowledged lies before the damage, which is what a
// power failure in the midst of an upload leaves.
//
// Errors: DataLoss, saying what is lost and what an operator may do; those of
// opening it read-only, as FromRocks() and with RocksDB's own text. OK if
// another process holds the lock: opening will say so.
absl::Status CheckBeforeOpen(const std::string& path,
                             const CommitWitness& witness,
                             const RocksDb::LogSink& log,
                             rocksdb::Options* options);

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_OPEN_CHECK_H_
