#include "registry/key_codec.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/sha256.h"

namespace stockpot {
namespace {

TEST(KeyCodecTest, LayoutIsTheDocumentedOne) {
  EXPECT_EQ(ManifestKey({"sql", 258}),
            std::string("n/sql\0\0\0\0\0\0\0\x01\x02", 14));
  EXPECT_EQ(CardKey({"sql", 1}), std::string("t/sql\0\0\0\0\0\0\0\0\x01", 14));
  EXPECT_EQ(AliasKey("sql", "prod"), std::string("a/sql\0prod", 10));
  EXPECT_EQ(ChunkKey({1, 2}),
            std::string("c/\0\0\0\0\0\0\0\x01/\0\0\0\x02", 15));
  EXPECT_EQ(ChunkSizeKey({1, 2}),
            std::string("s/\0\0\0\0\0\0\0\x01/\0\0\0\x02", 15));
  EXPECT_EQ(BlobKey(Sha256::Of("x")).size(), 34u);
  EXPECT_EQ(InspectionKey(Sha256::Of("x")).substr(0, 2), "i/");
  EXPECT_EQ(InspectionKey(Sha256::Of("x")).size(), 34u);
  EXPECT_EQ(ReferenceKey(Sha256::Of("x"), {"a", 1}).size(),
            34u + 1 + 1 + 1 + 8);
}

TEST(KeyCodecTest, KeysParseBack) {
  const Digest digest = Sha256::Of("x");
  const NameVersion version = {"a.b", 2147483647};
  EXPECT_EQ(ParseManifestKey(ManifestKey(version)), version);
  EXPECT_EQ(ParseBlobKey(BlobKey(digest)), digest);
  EXPECT_EQ(ParseDamageMarkKey(DamageMarkKey(digest)), digest);
  EXPECT_EQ(ParseReferenceKey(ReferenceKey(digest, version)), version);
  EXPECT_EQ(ParseAliasKey(AliasKey("a", "prod")), "prod");
  const ChunkId chunk = {0x0102030405060708, 0xFFFFFFFF};
  EXPECT_EQ(ParseChunkSizeKey(ChunkSizeKey(chunk)), chunk);
  EXPECT_EQ(ParseSize(EncodeSize(1 << 20)), 1u << 20);
}

TEST(KeyCodecTest, DigestsWithNulBytesKeepTheirNames) {
  const Digest zero;
  EXPECT_EQ(ParseReferenceKey(ReferenceKey(zero, {"a", 0x2f})),
            (NameVersion{"a", 0x2f}));
}

TEST(KeyCodecTest, ForeignKeysDoNotParse) {
  for (const std::string& key :
       {std::string(), std::string("n/"), std::string("n/abc"),
        std::string("n/abc\0\0", 7), std::string("c/abc"),
        ManifestKey({"a", 1}) + "x", ChunkKey({1, 2}), BlobKey({}) + "y",
        AliasPrefix("a"), CardKey({"a", 1})}) {
    EXPECT_EQ(ParseManifestKey(key), std::nullopt);
    EXPECT_EQ(ParseBlobKey(key), std::nullopt);
    EXPECT_EQ(ParseDamageMarkKey(key), std::nullopt);
    EXPECT_EQ(ParseReferenceKey(key), std::nullopt);
    EXPECT_EQ(ParseChunkSizeKey(key), std::nullopt);
    EXPECT_EQ(ParseAliasKey(key), std::nullopt);
  }
}

TEST(KeyCodecTest, ManifestsSortByNameThenVersion) {
  const std::vector<std::string> keys = {
      ManifestKey({"a", 1}),  ManifestKey({"a", 2}),   ManifestKey({"a", 256}),
      AfterManifests("a"),    ManifestKey({"a-b", 1}), ManifestKey({"a.b", 1}),
      ManifestKey({"a0", 1}), ManifestKey({"ab", 1}),  AfterManifests("ab")};
  EXPECT_TRUE(std::is_sorted(keys.begin(), keys.end()));
  for (const std::string& key : keys) {
    EXPECT_GE(key, kManifestKeys.begin);
    EXPECT_LT(key, kManifestKeys.end);
  }
  EXPECT_FALSE(absl::StartsWith(ManifestKey({"ab", 1}), ManifestPrefix("a")));
}

TEST(KeyCodecTest, ChunksSortByUploadThenIndex) {
  EXPECT_LT(ChunkKey({1, 0xFFFFFFFF}), ChunkKey({2, 0}));
  EXPECT_LT(ChunkKey({1, 255}), ChunkKey({1, 256}));
}

}  // namespace
}  // namespace stockpot
