// The one place where rocksdb::Status becomes absl::Status.

#ifndef STOCKPOT_REGISTRY_ROCKS_STATUS_H_
#define STOCKPOT_REGISTRY_ROCKS_STATUS_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "rocksdb/status.h"

namespace stockpot {

// Converts `status`; the message says that "the registry could not <action>"
// and why, in general words: RocksDB's own text names server paths, so it
// belongs in the log, not in an answer to a client.
//
// Codes: full disk or quota -> ResourceExhausted; corruption or a lost file ->
// DataLoss; I/O error, busy, stopped -> Unavailable; else Internal.
absl::Status FromRocks(const rocksdb::Status& status, absl::string_view action);

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_ROCKS_STATUS_H_
