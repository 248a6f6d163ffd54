#include "base/digest.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/sha256.h"
#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOkAndHolds;
using ::stockpot::testing::StatusIs;
using ::testing::_;

// FIPS 180-4, "abc".
constexpr char kAbc[] =
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

TEST(DigestTest, Sha256OfAbcIsThatOfTheStandard) {
  EXPECT_EQ(Sha256::Of("abc").ToHex(), kAbc);
}

TEST(DigestTest, PiecesHashLikeTheWhole) {
  Sha256 hash;
  hash.Update("a");
  hash.Update("");
  hash.Update("bc");
  EXPECT_EQ(hash.Finish(), Sha256::Of("abc"));
}

TEST(DigestTest, FramesKeepStringsApart) {
  Sha256 one;
  one.UpdateFramed("ab");
  one.UpdateFramed("c");
  Sha256 other;
  other.UpdateFramed("a");
  other.UpdateFramed("bc");
  EXPECT_NE(one.Finish(), other.Finish());
}

TEST(DigestTest, ParsesWhatItPrints) {
  const Digest digest = Sha256::Of("x");
  EXPECT_THAT(Digest::Parse(digest.ToString()), IsOkAndHolds(digest));
  EXPECT_THAT(Digest::FromHex(digest.ToHex()), IsOkAndHolds(digest));
}

TEST(DigestTest, RefusesEverythingElse) {
  for (const char* text :
       {"", "sha256:", "sha256:zz", "../etc/passwd", "sha512:00", kAbc}) {
    EXPECT_THAT(Digest::Parse(text),
                StatusIs(absl::StatusCode::kInvalidArgument, _))
        << text;
  }
  std::string upper = kAbc;
  upper[0] = 'B';
  EXPECT_THAT(Digest::FromHex(upper),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
}

}  // namespace
}  // namespace stockpot
