#include "registry/key_codec.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "base/digest.h"

namespace stockpot {
namespace {

constexpr absl::string_view kNul("\0", 1);
constexpr absl::string_view kCardPrefix = "t/";
constexpr absl::string_view kInspectionPrefix = "i/";
constexpr size_t kPrefixBytes = 2;
constexpr size_t kDigestBytes = 32;

template <typename T>
std::string BigEndian(T value) {
  std::string bytes(sizeof(T), '\0');
  for (size_t i = sizeof(T); i-- > 0; value >>= 8) {
    bytes[i] = static_cast<char>(value & 0xFF);
  }
  return bytes;
}

// REQUIRES: bytes.size() == sizeof(T).
template <typename T>
T FromBigEndian(absl::string_view bytes) {
  T value = 0;
  for (const char c : bytes) {
    value = static_cast<T>(value << 8) | static_cast<uint8_t>(c);
  }
  return value;
}

std::string EncodeNameVersion(const NameVersion& version) {
  return absl::StrCat(version.name, kNul,
                      BigEndian(static_cast<uint64_t>(version.version)));
}

std::optional<NameVersion> ParseNameVersion(absl::string_view bytes) {
  const size_t nul = bytes.find('\0');
  if (nul == absl::string_view::npos || nul == 0 ||
      bytes.size() - nul - 1 != sizeof(uint64_t)) {
    return std::nullopt;
  }
  return NameVersion{
      std::string(bytes.substr(0, nul)),
      static_cast<int64_t>(FromBigEndian<uint64_t>(bytes.substr(nul + 1)))};
}

std::string EncodeChunkId(ChunkId chunk) {
  return absl::StrCat(BigEndian(chunk.upload_id), "/", BigEndian(chunk.index));
}

}  // namespace

std::string AliasPrefix(absl::string_view name) {
  return absl::StrCat(kAliasKeys.begin, name, kNul);
}

std::string AliasKey(absl::string_view name, absl::string_view alias) {
  return absl::StrCat(kAliasKeys.begin, name, kNul, alias);
}

std::string BlobKey(const Digest& digest) {
  return absl::StrCat(kBlobKeys.begin, EncodeDigest(digest));
}

std::string InspectionKey(const Digest& digest) {
  return absl::StrCat(kInspectionPrefix, EncodeDigest(digest));
}

std::string DamageMarkKey(const Digest& digest) {
  return absl::StrCat(kDamageMarkKeys.begin, EncodeDigest(digest));
}

std::string ChunkKey(ChunkId chunk) {
  return absl::StrCat(kChunkKeys.begin, EncodeChunkId(chunk));
}

std::string ChunkSizeKey(ChunkId chunk) {
  return absl::StrCat(kChunkSizeKeys.begin, EncodeChunkId(chunk));
}

std::string ReferencePrefix(const Digest& digest) {
  return absl::StrCat(kReferenceKeys.begin, EncodeDigest(digest), kNul);
}

std::string ReferenceKey(const Digest& digest, const NameVersion& version) {
  return absl::StrCat(ReferencePrefix(digest), EncodeNameVersion(version));
}

std::string ManifestPrefix(absl::string_view name) {
  return absl::StrCat(kManifestKeys.begin, name, kNul);
}

std::string ManifestKey(const NameVersion& version) {
  return absl::StrCat(kManifestKeys.begin, EncodeNameVersion(version));
}

std::string AfterManifests(absl::string_view name) {
  return absl::StrCat(kManifestKeys.begin, name, "\x01");
}

std::string CardKey(const NameVersion& version) {
  return absl::StrCat(kCardPrefix, EncodeNameVersion(version));
}

std::string TombstoneKey(const NameVersion& version) {
  return absl::StrCat(kTombstoneKeys.begin, EncodeNameVersion(version));
}

std::string GraveKey(const NameVersion& version) {
  return absl::StrCat(kGraveKeys.begin, EncodeNameVersion(version));
}

std::string HoldPrefix(const Digest& digest) {
  return absl::StrCat(kHoldKeys.begin, EncodeDigest(digest), kNul);
}

std::string HoldKey(const Digest& digest, const NameVersion& version) {
  return absl::StrCat(HoldPrefix(digest), EncodeNameVersion(version));
}

std::string RecipeAliasPrefix(absl::string_view name) {
  return absl::StrCat(kRecipeAliasKeys.begin, name, kNul);
}

std::string RecipeAliasKey(absl::string_view name, absl::string_view alias) {
  return absl::StrCat(kRecipeAliasKeys.begin, name, kNul, alias);
}

std::string RecipeKey(const NameVersion& version) {
  return absl::StrCat(kRecipeKeys.begin, EncodeNameVersion(version));
}

std::string RecipeGraveKey(const NameVersion& version) {
  return absl::StrCat(kRecipeGraveKeys.begin, EncodeNameVersion(version));
}

std::string UsePrefix(const Digest& digest) {
  return absl::StrCat(kUseKeys.begin, EncodeDigest(digest), kNul);
}

std::string UseKey(const Digest& digest, const NameVersion& version) {
  return absl::StrCat(UsePrefix(digest), EncodeNameVersion(version));
}

std::string NamePrefix(const KeyRange& kind, absl::string_view name) {
  return absl::StrCat(kind.begin, name, kNul);
}

std::string AfterName(const KeyRange& kind, absl::string_view name) {
  return absl::StrCat(kind.begin, name, "\x01");
}

std::optional<NameVersion> ParseVersionedKey(const KeyRange& kind,
                                             absl::string_view key) {
  if (!absl::StartsWith(key, kind.begin)) {
    return std::nullopt;
  }
  return ParseNameVersion(key.substr(kPrefixBytes));
}

std::optional<NameVersion> ParseManifestKey(absl::string_view key) {
  return ParseVersionedKey(kManifestKeys, key);
}

std::optional<Digest> ParseBlobKey(absl::string_view key) {
  if (!absl::StartsWith(key, kBlobKeys.begin)) {
    return std::nullopt;
  }
  return ParseDigest(key.substr(kPrefixBytes));
}

std::optional<Digest> ParseDamageMarkKey(absl::string_view key) {
  if (!absl::StartsWith(key, kDamageMarkKeys.begin)) {
    return std::nullopt;
  }
  return ParseDigest(key.substr(kPrefixBytes));
}

std::optional<ChunkId> ParseChunkSizeKey(absl::string_view key) {
  constexpr size_t kIdBytes = sizeof(uint64_t);
  if (!absl::StartsWith(key, kChunkSizeKeys.begin) ||
      key.size() != kPrefixBytes + kIdBytes + 1 + sizeof(uint32_t) ||
      key[kPrefixBytes + kIdBytes] != '/') {
    return std::nullopt;
  }
  key.remove_prefix(kPrefixBytes);
  return ChunkId{FromBigEndian<uint64_t>(key.substr(0, kIdBytes)),
                 FromBigEndian<uint32_t>(key.substr(kIdBytes + 1))};
}

std::optional<NameVersion> ParseReferenceKey(absl::string_view key) {
  constexpr size_t kStart = kPrefixBytes + kDigestBytes;
  if ((!absl::StartsWith(key, kReferenceKeys.begin) &&
       !absl::StartsWith(key, kUseKeys.begin)) ||
      key.size() <= kStart || key[kStart] != '\0') {
    return std::nullopt;
  }
  return ParseNameVersion(key.substr(kStart + 1));
}

std::optional<std::string> ParseAliasKey(absl::string_view key) {
  const size_t nul = key.find('\0');
  if ((!absl::StartsWith(key, kAliasKeys.begin) &&
       !absl::StartsWith(key, kRecipeAliasKeys.begin)) ||
      nul == absl::string_view::npos || nul + 1 == key.size()) {
    return std::nullopt;
  }
  return std::string(key.substr(nul + 1));
}

std::string EncodeSize(uint32_t size) { return BigEndian(size); }

std::optional<uint32_t> ParseSize(absl::string_view bytes) {
  if (bytes.size() != sizeof(uint32_t)) {
    return std::nullopt;
  }
  return FromBigEndian<uint32_t>(bytes);
}

std::string EncodeDigest(const Digest& digest) {
  return std::string(digest.bytes.begin(), digest.bytes.end());
}

std::optional<Digest> ParseDigest(absl::string_view bytes) {
  if (bytes.size() != kDigestBytes) {
    return std::nullopt;
  }
  Digest digest;
  std::copy(bytes.begin(), bytes.end(), digest.bytes.begin());
  return digest;
}

}  // namespace stockpot
