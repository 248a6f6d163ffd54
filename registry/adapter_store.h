// An AdapterStore keeps uploaded adapters: one immutable blob per content
// digest, and a mutable index of names, versions and aliases over the blobs.
//
// All methods of AdapterStore are safe to call from many threads at once. An
// upload is durable and visible, or absent, after a crash; it is never half
// there. Every method may touch the disk and block; call none of them from a
// thread that must not wait.

#ifndef STOCKPOT_REGISTRY_ADAPTER_STORE_H_
#define STOCKPOT_REGISTRY_ADAPTER_STORE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

#include "base/digest.h"
#include "registry/adapter_ref.h"

namespace stockpot {

inline constexpr size_t kBlobChunkBytes = size_t{1} << 20;
inline constexpr size_t kMaxAdapterConfigBytes = size_t{256} << 10;
inline constexpr size_t kMaxDescriptionBytes = size_t{4} << 10;
inline constexpr size_t kMaxCardBytes = size_t{256} << 10;
inline constexpr uint32_t kMaxPageSize = 1000;
inline constexpr uint32_t kDefaultPageSize = 100;
inline constexpr size_t kMaxAliasesPerName = 256;

// What the validator found in an adapter's weights. The store keeps it as it
// is; it bounds only the sizes (target_modules: 4096 of 256 bytes each).
struct AdapterFacts {
  uint64_t num_parameters = 0;
  std::string peft_type;
  uint32_t min_rank = 0;
  uint32_t max_rank = 0;
  // The least share of a module's update that its factors keep; see the wire.
  double kept_energy = 1;
  std::vector<std::string> target_modules;
  std::string base_model;    // As the adapter_config spells it.
  Digest base_model_digest;  // Of the base that it was validated against.
};

// What is known of one stored adapter without reading its weights.
struct AdapterRecord {
  std::string name;
  int64_t version = 0;
  Digest digest;  // ContentDigest() of its config and weights.
  uint64_t size_bytes = 0;
  Digest safetensors_sha256;
  std::string adapter_config;  // As uploaded. List() leaves it empty.
  Labels labels;
  std::string description;
  std::string card;                  // List() leaves it empty.
  std::string license;               // Empty: not known.
  std::string signer;                // Empty: it came without a signature.
  std::vector<std::string> aliases;  // Sorted.
  AdapterFacts facts;
  absl::Time create_time;
  bool damaged = false;  // Stored bytes are lost; only List() returns such.
  // Of a deleted adapter: when, and until when it may come back. Only List()
  // and GetDeleted() return such.
  std::optional<absl::Time> delete_time;
  std::optional<absl::Time> purge_time;
};

// Identity of an adapter: SHA-256 over the length-prefixed canonical
// adapter_config JSON and the length-prefixed SHA-256 of the safetensors file.
Digest ContentDigest(absl::string_view canonical_config,
                     const Digest& safetensors_sha256);

// While a BlobPin lives, its blob stays readable by OpenBlob(), even after its
// last name is deleted. The store outlives it. Releasing it never blocks.
class BlobPin {
 public:
  virtual ~BlobPin() = default;
};

// An adapter as a call keeps it from admission to its end.
struct ResolvedAdapter {
  std::string name;
  int64_t version = 0;
  Digest digest;
  uint64_t size_bytes = 0;
  Digest base_model_digest;
  std::shared_ptr<const BlobPin> pin;
};

// Reads one stored blob and pins it. Not thread-safe. The store outlives it.
class BlobReader {
 public:
  virtual ~BlobReader() = default;

  virtual const Digest& digest() const = 0;
  virtual const Digest& safetensors_sha256() const = 0;
  virtual uint64_t size_bytes() const = 0;
  // The adapter_config.json that was uploaded with these bytes.
  virtual const std::string& adapter_config() const = 0;

  // Fills `out` from byte `offset`. Does not disturb Next().
  // Errors: OutOfRange past the end; DataLoss if stored bytes are damaged.
  virtual absl::Status ReadAt(uint64_t offset, absl::Span<char> out) = 0;

  // Sets `chunk` to the next bytes, at most 1 MiB, and returns true; returns
  // false after the last byte. Only then were all bytes checked against
  // safetensors_sha256(). Errors: DataLoss if they differ or are damaged.
  virtual absl::StatusOr<bool> Next(std::string* chunk) = 0;
};

// What a client declares before it sends bytes.
struct UploadSpec {
  std::string name;
  std::optional<int64_t> version;  // Default: the highest ever plus 1.
  Labels labels;
  std::string description;
  std::string card;
  std::string license;  // SPDX expression; empty: not known.
  std::string signer;   // The key that its signature was checked with.
  std::string adapter_config;
  // The same JSON in canonical form; it decides the digest. Empty:
  // `adapter_config` itself.
  std::string canonical_config;
  uint64_t size_bytes = 0;  // Of the safetensors file. Exact.
  Digest sha256;            // Of the safetensors file.
};

struct CommitResult {
  AdapterRecord record;
  bool already_stored = false;  // Its bytes were stored before this upload.
};

// One upload in progress. Destroying it before a successful Commit() removes
// all that it stored. Not thread-safe. The store outlives it.
class Upload {
 public:
  virtual ~Upload() = default;

  // Takes the next bytes, in pieces of any size; holds at most two chunks in
  // memory. Errors: InvalidArgument if more bytes come than were declared;
  // ResourceExhausted or Unavailable from the disk.
  virtual absl::Status Append(absl::string_view bytes) = 0;

  // Reads back bytes that Append() took, so that they can be validated before
  // they become visible. Errors: OutOfRange if they have not all come;
  // Unavailable; DataLoss.
  virtual absl::Status ReadAt(uint64_t offset, absl::Span<char> out) = 0;

  // Bytes that Append() took.
  virtual uint64_t received_bytes() const = 0;

  // OK once the bytes are complete and match the declared size and SHA-256.
  // Commit() checks the same. Errors: InvalidArgument (declared against got).
  virtual absl::Status CheckComplete() = 0;

  // Makes the adapter visible and durable. Of several uploads that commit
  // different content as one name@version, exactly one wins. Equal
  // content under an equal name and version (or, with no version declared, as
  // the newest version of the name) is stored already: its record comes back as
  // it is. Equal content under another name stores the name only.
  // The version of a deleted adapter takes the content that it had, no other.
  //
  // Errors: InvalidArgument (size, SHA-256, facts out of bounds); AlreadyExists
  // (name@version holds or held other content); FailedPrecondition (called
  // twice, or versions of the name are used up); ResourceExhausted, Unavailable
  // (disk; the outcome is unknown and the same upload may be sent again).
  virtual absl::StatusOr<CommitResult> Commit(const AdapterFacts& facts) = 0;
};

// All that is set must match.
struct AdapterFilter {
  uint32_t min_rank = 0;  // Of its largest rank.
  uint32_t max_rank = 0;  // 0: no bound.
  uint64_t min_bytes = 0;
  uint64_t max_bytes = 0;  // 0: no bound.
  absl::Time created_from = absl::InfinitePast();
  absl::Time created_before = absl::InfiniteFuture();
  // Each is one of its target modules, or the last parts of one.
  std::vector<std::string> target_modules = {};
  // As the adapter_config spells it, or "sha256:" and the base's digest.
  std::string base_model = {};
  // In its name, description or card; the case of ASCII letters is ignored.
  std::string text = {};
};

struct ListOptions {
  std::string name_prefix;
  AdapterFilter filter;
  Labels labels;              // All must match.
  bool all_versions = false;  // Default: the newest of each name.
  bool deleted = false;       // Instead all that is deleted and may come back.
  uint32_t page_size = 0;     // In [0, 1000]; 0: 100.
  std::string page_token;     // Empty: from the start.
};

struct AdapterPage {
  std::vector<AdapterRecord> records;  // By name, then version.
  std::string next_page_token;         // Empty: no more.
};

// Unset fields stay as they are.
struct AdapterUpdate {
  std::optional<Labels> labels;  // Replaces all labels.
  std::optional<std::string> description;
  std::optional<std::string> card;
};

struct StoreStats {
  uint64_t num_adapters = 0;  // Pairs of name and version.
  uint64_t num_names = 0;
  uint64_t num_deleted = 0;      // Versions that may come back.
  uint64_t num_damaged = 0;      // Blobs in quarantine.
  uint64_t num_recipes = 0;      // Saved: pairs of name and version.
  uint64_t bytes = 0;            // Of all blobs, each once; also of deleted.
  uint64_t free_disk_bytes = 0;  // For us, on the store's file system.
  bool writable = true;          // False after a failed or full disk.
};

class AdapterStore {
 public:
  virtual ~AdapterStore() = default;

  // Returns what `ref` means now, pinned.
  // Errors: NotFound (names the ref and, if the name exists, its versions and
  // aliases); DataLoss (in quarantine).
  virtual absl::StatusOr<ResolvedAdapter> Resolve(const AdapterRef& ref) = 0;

  // Errors: as Resolve().
  virtual absl::StatusOr<AdapterRecord> Get(const AdapterRef& ref) = 0;

  // One page. Pages are stable: an adapter that exists throughout a listing is
  // returned exactly once whatever is added or deleted meanwhile (one whose
  // name gets a new version may come back as that version). Memory is bounded;
  // a page may be short, or empty, and still not be the last: it looks at no
  // more than 10 000 adapters and 8 MiB of cards.
  // Errors: InvalidArgument (page size, token, prefix, labels, filter).
  virtual absl::StatusOr<AdapterPage> List(const ListOptions& options) = 0;

  // Errors: NotFound; DataLoss (in quarantine).
  virtual absl::StatusOr<std::unique_ptr<BlobReader>> OpenBlob(
      const Digest& digest) = 0;

  // Errors: InvalidArgument (in `spec`); AlreadyExists (name@version holds
  // other bytes); ResourceExhausted (quota, disk, uploads at once);
  // Unavailable.
  virtual absl::StatusOr<std::unique_ptr<Upload>> BeginUpload(
      UploadSpec spec) = 0;

  // Deletes one name@version and the aliases that point at it: nobody finds it
  // any more, but Undelete() brings it back until the store's undelete window
  // has passed. Then, or at once if the store has no window, it is purged, and
  // the blob goes once nothing names or pins it. A bare name is enough only if
  // the name has one version. Errors: NotFound; FailedPrecondition (say which
  // version; a digest has several names; a saved recipe uses it);
  // ResourceExhausted, Unavailable (disk).
  virtual absl::Status Delete(const AdapterRef& ref) = 0;

  // Brings back a deleted adapter, with those of its aliases that nothing has
  // taken, and returns its record. Errors: InvalidArgument (not of the form
  // "name@version"); NotFound (not deleted, or purged); DataLoss (in
  // quarantine); ResourceExhausted, Unavailable (disk).
  virtual absl::StatusOr<AdapterRecord> Undelete(const AdapterRef& ref) = 0;

  // Removes an adapter for good, whether it was deleted before or not.
  // Errors: as Delete().
  virtual absl::Status Purge(const AdapterRef& ref) = 0;

  // The record of a deleted "name@version", without config and card.
  // Errors: InvalidArgument, NotFound.
  virtual absl::StatusOr<AdapterRecord> GetDeleted(const AdapterRef& ref) = 0;

  // Points `name`@`alias` at `version`, wherever it pointed before, and returns
  // that version's record. Errors: InvalidArgument; NotFound;
  // FailedPrecondition (more than 256 aliases); ResourceExhausted, Unavailable
  // (disk).
  virtual absl::StatusOr<AdapterRecord> SetAlias(absl::string_view name,
                                                 absl::string_view alias,
                                                 int64_t version) = 0;

  // Errors: InvalidArgument; NotFound; ResourceExhausted, Unavailable (disk).
  virtual absl::Status DeleteAlias(absl::string_view name,
                                   absl::string_view alias) = 0;

  // Changes what is not part of the content; returns the new record.
  // Errors: as Get(); InvalidArgument; ResourceExhausted, Unavailable (disk).
  virtual absl::StatusOr<AdapterRecord> Update(const AdapterRef& ref,
                                               const AdapterUpdate& update) = 0;

  virtual StoreStats Stats() = 0;
};

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_ADAPTER_STORE_H_
