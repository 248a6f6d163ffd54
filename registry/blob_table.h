// A BlobTable knows, for the blobs on disk, what is only in memory: who pins
// which, which are in quarantine, and which wait to be removed. Its thread
// removes the latter.
//
// Thread-safe. Pins share its state and may be released after it is gone.

#ifndef STOCKPOT_REGISTRY_BLOB_TABLE_H_
#define STOCKPOT_REGISTRY_BLOB_TABLE_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_set.h"

#include "base/digest.h"
#include "registry/adapter_store.h"

namespace stockpot {

class BlobTable {
 public:
  // Removes the blob from disk if nothing names it and BeginRemoval() agrees.
  // Called from the table's thread.
  using Remove = std::function<void(const Digest&)>;

  BlobTable();
  ~BlobTable();

  // Starts the thread. `remove` runs once for each blob that was doomed, as
  // soon as nothing pins it; `idle` after the last of a series.
  // REQUIRES: called once.
  void Start(Remove remove, std::function<void()> idle);

  // Stops the thread after the removal that it is in. Blobs still doomed stay.
  void Stop();

  // Pins `digest`, whether it is stored or not: the caller looks once it holds
  // the pin. Waits while the blob is being removed.
  std::shared_ptr<const BlobPin> Pin(const Digest& digest);

  // Says that nothing names `digest` any more.
  void Doom(const Digest& digest);

  // False if `digest` is pinned: it is then removed at its last unpin. True
  // keeps new pins waiting until EndRemoval().
  bool BeginRemoval(const Digest& digest);
  void EndRemoval(const Digest& digest);

  bool IsPinned(const Digest& digest) const;

  // True if it goes with its last unpin.
  bool IsDoomed(const Digest& digest) const;

  // Blocks until no doomed blob is left that nothing pins.
  void WaitUntilIdle();

  void Quarantine(const Digest& digest);
  void Release(const Digest& digest);
  bool IsQuarantined(const Digest& digest) const;
  size_t num_quarantined() const;
  std::vector<Digest> Quarantined() const;
  void SetQuarantine(absl::flat_hash_set<Digest> digests);

 private:
  struct State;

  const std::shared_ptr<State> state_;
  std::thread thread_;
};

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_BLOB_TABLE_H_
