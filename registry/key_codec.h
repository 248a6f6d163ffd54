// The keys of the registry in RocksDB, and nothing else. See
// docs/formats/registry.md. Numbers are big-endian, so that keys sort by them;
// names hold no byte below '-', so that NUL ends them and keeps their order;
// the slash after a namespace is one of theirs. Free functions; thread-safe.

#ifndef STOCKPOT_REGISTRY_KEY_CODEC_H_
#define STOCKPOT_REGISTRY_KEY_CODEC_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

#include "base/digest.h"

namespace stockpot {

struct NameVersion {
  std::string name;
  int64_t version = 0;

  bool operator==(const NameVersion&) const = default;
};

struct ChunkId {
  uint64_t upload_id = 0;
  uint32_t index = 0;

  bool operator==(const ChunkId&) const = default;
};

// Every key of a kind starts with its prefix and sorts before its end.
struct KeyRange {
  absl::string_view begin;
  absl::string_view end;
};
inline constexpr KeyRange kAliasKeys = {"a/", "a0"};
inline constexpr KeyRange kBlobKeys = {"b/", "b0"};
inline constexpr KeyRange kChunkKeys = {"c/", "c0"};
inline constexpr KeyRange kHoldKeys = {"e/", "e0"};
inline constexpr KeyRange kGraveKeys = {"g/", "g0"};
inline constexpr KeyRange kTombstoneKeys = {"x/", "x0"};
inline constexpr KeyRange kReferenceKeys = {"d/", "d0"};
inline constexpr KeyRange kDamageMarkKeys = {"m/", "m0"};
inline constexpr KeyRange kManifestKeys = {"n/", "n0"};
inline constexpr KeyRange kChunkSizeKeys = {"s/", "s0"};
inline constexpr KeyRange kRecipeAliasKeys = {"q/", "q0"};
inline constexpr KeyRange kRecipeKeys = {"r/", "r0"};
inline constexpr KeyRange kUseKeys = {"u/", "u0"};
inline constexpr KeyRange kRecipeGraveKeys = {"y/", "y0"};
inline constexpr absl::string_view kFormatKey = "f/version";
inline constexpr absl::string_view kSealKey = "f/seal";

std::string AliasKey(absl::string_view name, absl::string_view alias);
// All aliases of `name` start with this.
std::string AliasPrefix(absl::string_view name);
std::string BlobKey(const Digest& digest);
// Of what was computed of the blob `digest`.
std::string InspectionKey(const Digest& digest);
// Says that the bytes of the blob `digest` were found damaged.
std::string DamageMarkKey(const Digest& digest);
std::string ChunkKey(ChunkId chunk);
std::string ChunkSizeKey(ChunkId chunk);
std::string ReferenceKey(const Digest& digest, const NameVersion& version);
// All references to `digest` start with this.
std::string ReferencePrefix(const Digest& digest);
std::string ManifestKey(const NameVersion& version);
// All versions of `name` start with this.
std::string ManifestPrefix(absl::string_view name);
// Sorts after all versions of `name` and before those of the next name.
std::string AfterManifests(absl::string_view name);
std::string CardKey(const NameVersion& version);

// For each kind whose keys are <name> 00 <version>: what all versions of `name`
// start with, what sorts after them and before those of the next name, and the
// reverse (nullopt for a key of another kind or shape).
std::string NamePrefix(const KeyRange& kind, absl::string_view name);
std::string AfterName(const KeyRange& kind, absl::string_view name);
std::optional<NameVersion> ParseVersionedKey(const KeyRange& kind,
                                             absl::string_view key);

std::string TombstoneKey(const NameVersion& version);
std::string GraveKey(const NameVersion& version);
// Says that the deleted adapter `version` may come back and needs `digest`.
std::string HoldKey(const Digest& digest, const NameVersion& version);
// All holds on `digest` start with this.
std::string HoldPrefix(const Digest& digest);
// Keys of saved recipes, as those of adapters.
std::string RecipeAliasKey(absl::string_view name, absl::string_view alias);
std::string RecipeAliasPrefix(absl::string_view name);
std::string RecipeKey(const NameVersion& version);
std::string RecipeGraveKey(const NameVersion& version);
// Says that the recipe `version` uses the adapter `digest`.
std::string UseKey(const Digest& digest, const NameVersion& version);
// All uses of `digest` start with this.
std::string UsePrefix(const Digest& digest);

// The reverse; nullopt for a key of another kind or shape.
std::optional<NameVersion> ParseManifestKey(absl::string_view key);
std::optional<Digest> ParseBlobKey(absl::string_view key);
std::optional<Digest> ParseDamageMarkKey(absl::string_view key);
std::optional<ChunkId> ParseChunkSizeKey(absl::string_view key);
// The name and version that a reference or use key holds.
std::optional<NameVersion> ParseReferenceKey(absl::string_view key);
// The alias that a key under AliasPrefix(name) or RecipeAliasPrefix(name)
// holds.
std::optional<std::string> ParseAliasKey(absl::string_view key);

// Four bytes, most significant first: the value at ChunkSizeKey().
std::string EncodeSize(uint32_t size);
std::optional<uint32_t> ParseSize(absl::string_view bytes);

// The 32 bytes of a digest, as keys and values hold them.
std::string EncodeDigest(const Digest& digest);
std::optional<Digest> ParseDigest(absl::string_view bytes);

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_KEY_CODEC_H_
