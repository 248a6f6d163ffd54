// An IndexSeal says what the registry's index must hold, so that an index which
// lost a part is noticed: RocksDB 7.8 opens without a word when a log file is
// gone or cut short, or when the end of its MANIFEST is.
//
// Every synced write carries the seal of the index as it is after it, in the
// same batch. So the seal and the index agree unless something between two
// writes was lost; what was lost at the end shows against the CommitWitness.
//
// Policy: a seal says which kinds of key it covers, and is checked by those.
// One of another build, which covers other kinds, is replaced when the registry
// is opened for writing. Free functions; thread-safe.

#ifndef STOCKPOT_REGISTRY_INDEX_SEAL_H_
#define STOCKPOT_REGISTRY_INDEX_SEAL_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "rocksdb/db.h"
#include "rocksdb/write_batch.h"

#include "base/digest.h"
#include "registry/key_codec.h"

namespace stockpot {

// What every seal covers, and all that the first builds' seals did.
inline constexpr KeyRange kSealedNames[] = {kManifestKeys, kAliasKeys};
// What a seal of this build covers beside it. The keys of neither are derived
// from these, or checked against them by the audit.
inline constexpr KeyRange kSealedRest[] = {kGraveKeys, kRecipeAliasKeys,
                                           kRecipeKeys, kTombstoneKeys,
                                           kRecipeGraveKeys};

// What some kinds of key hold.
struct SealedSum {
  uint64_t num_entries = 0;
  // XOR of SHA-256(framed key, framed value) over all entries: no order, and an
  // entry is taken out as it was put in. It finds losses, not forgeries.
  Digest entries;

  bool operator==(const SealedSum&) const = default;
};

struct IndexSeal {
  uint64_t num_commits = 0;  // Synced writes so far, this one included.
  SealedSum names;           // Of kSealedNames.
  std::vector<std::string> rest_prefixes;  // Each with its slash: "r/".
  SealedSum rest;                          // Of the keys that begin with them.

  // True if it covers what this build seals.
  bool IsCurrent() const;
  bool operator==(const IndexSeal&) const = default;
};

// Adds to `batch` the seal of the index after it, and returns that seal. `now`
// is the seal before. REQUIRES: now.IsCurrent(); no other thread changes sealed
// keys; the batch holds only Put and Delete. Errors: DataLoss, Unavailable (old
// values cannot be read); Internal.
absl::StatusOr<IndexSeal> SealBatch(rocksdb::DB& db, const IndexSeal& now,
                                    rocksdb::WriteBatch* batch);

// The seal in `db`; nullopt if it was written before there were seals.
// Errors: DataLoss, Unavailable.
absl::StatusOr<std::optional<IndexSeal>> ReadSeal(rocksdb::DB& db);

// What a seal of this build must say of `db`, with num_commits 0. Reads the
// whole index, no chunk. Errors: DataLoss, Unavailable.
absl::StatusOr<IndexSeal> ComputeSeal(rocksdb::DB& db);

// Checks that nothing is missing from `db`, of which at least `num_commits`
// were acknowledged. Errors: DataLoss, saying what is missing; Unavailable.
absl::Status CheckSeal(rocksdb::DB& db, uint64_t num_commits);

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_INDEX_SEAL_H_
