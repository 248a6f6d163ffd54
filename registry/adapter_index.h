// The read side of the registry's keys: names, versions, aliases, manifests.
//
// An AdapterIndex is a view of an open database for one operation. Thread-safe;
// each method sees one state of the database, two methods may see two.

#ifndef STOCKPOT_REGISTRY_ADAPTER_INDEX_H_
#define STOCKPOT_REGISTRY_ADAPTER_INDEX_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "rocksdb/db.h"
#include "rocksdb/iterator.h"
#include "rocksdb/options.h"
#include "rocksdb/slice.h"

#include "proto/stockpot/v1/storage.pb.h"

#include "base/digest.h"
#include "registry/adapter_ref.h"
#include "registry/adapter_store.h"
#include "registry/key_codec.h"
#include "registry/rocks_db.h"

namespace stockpot {

inline absl::string_view ToView(const rocksdb::Slice& slice) {
  return absl::string_view(slice.data(), slice.size());
}
inline rocksdb::Slice ToSlice(absl::string_view view) {
  return rocksdb::Slice(view.data(), view.size());
}

// Iterates over the keys of one kind and never leaves them: stepping onto a
// chunk would read its megabyte. REQUIRES: what the range shows outlives it.
class RangeIterator {
 public:
  RangeIterator(rocksdb::DB& db, const KeyRange& range);

  rocksdb::Iterator* operator->() const { return iterator_.get(); }
  absl::string_view key() const { return ToView(iterator_->key()); }
  absl::string_view value() const { return ToView(iterator_->value()); }

 private:
  const rocksdb::Slice lower_;
  const rocksdb::Slice upper_;
  std::unique_ptr<rocksdb::Iterator> iterator_;
};

// The newest version of `name` among the keys of `kind`, whose keys are
// <name> 00 <version>; 0: none. REQUIRES: as RangeIterator.
// Errors: DataLoss, Unavailable.
absl::StatusOr<int64_t> NewestVersion(RocksDb* owner, rocksdb::DB& db,
                                      const KeyRange& kind,
                                      absl::string_view name);

class AdapterIndex {
 public:
  using Manifest = storage::v1::AdapterManifest;
  using BlobHeader = storage::v1::BlobHeader;
  using Tombstone = storage::v1::AdapterTombstone;
  using Grave = storage::v1::AdapterGrave;

  AdapterIndex(RocksDb* owner, rocksdb::DB& db) : owner_(owner), db_(db) {}

  // Errors of all methods, besides those named: DataLoss, Unavailable.

  // The manifest that `ref` means now; a digest means the first name that it
  // has. Errors: NotFound, as AdapterStore::Resolve().
  absl::StatusOr<Manifest> Locate(const AdapterRef& ref);

  absl::StatusOr<std::optional<Manifest>> Find(const NameVersion& version);
  absl::StatusOr<std::optional<Manifest>> FindNewest(absl::string_view name);
  absl::StatusOr<std::optional<BlobHeader>> FindBlob(const Digest& digest);

  // What was deleted and may come back; what was purged.
  absl::StatusOr<std::optional<Tombstone>> FindTombstone(
      const NameVersion& version);
  absl::StatusOr<std::optional<Grave>> FindGrave(const NameVersion& version);
  // The first adapters after `last` that were deleted before `limit`, at most
  // `max_found`.
  absl::StatusOr<std::vector<NameVersion>> FindDeletedBefore(
      absl::Time limit, const std::optional<NameVersion>& last,
      size_t max_found);
  // True if a deleted adapter that may come back needs `digest`.
  absl::StatusOr<bool> IsHeld(const Digest& digest);
  // The highest version that `name` has or had; 0: none.
  absl::StatusOr<int64_t> HighestVersion(absl::string_view name);

  // The first `limit` versions of `name`, ascending.
  absl::StatusOr<std::vector<int64_t>> Versions(absl::string_view name,
                                                size_t limit);
  // The names and versions of `digest`, at most `limit`.
  absl::StatusOr<std::vector<NameVersion>> NamesOf(const Digest& digest,
                                                   size_t limit);

  struct Alias {
    std::string alias;
    int64_t version = 0;
  };
  // All aliases of `name`, sorted.
  absl::StatusOr<std::vector<Alias>> AliasesOf(absl::string_view name);

  // The full record of `manifest`, with config, card and aliases.
  absl::StatusOr<AdapterRecord> Load(const Manifest& manifest);

  // Errors: InvalidArgument.
  absl::StatusOr<AdapterPage> List(
      const ListOptions& options,
      const std::function<bool(const Digest&)>& is_damaged);

  // As List(), of what was deleted and may come back for `window`.
  // Errors: InvalidArgument.
  absl::StatusOr<AdapterPage> ListDeleted(
      const ListOptions& options, absl::Duration window,
      const std::function<bool(const Digest&)>& is_damaged);

 private:
  // The aliases of the name looked at last.
  struct AliasCache {
    std::string name;
    std::vector<Alias> aliases;
  };

  // True if `manifest` is what `options` ask for. Adds the bytes of the card
  // that it had to read to `card_bytes`.
  absl::StatusOr<bool> Matches(const Manifest& manifest,
                               const ListOptions& options, size_t* card_bytes);
  // The record of `manifest` with aliases, without config and card.
  absl::StatusOr<AdapterRecord> Summarise(const Manifest& manifest,
                                          AliasCache* cache);
  // Sets `value` and returns true, or returns false if there is no `key`.
  absl::StatusOr<bool> Get(absl::string_view key, std::string* value);
  absl::Status Check(const RangeIterator& it);
  absl::Status NotFound(const AdapterRef& ref);

  RocksDb* const owner_;
  rocksdb::DB& db_;
};

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_ADAPTER_INDEX_H_
