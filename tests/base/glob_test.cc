#include "base/glob.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::StatusIs;
using ::testing::HasSubstr;

bool Matches(const std::string& pattern, const std::string& path) {
  const auto glob = Glob::Parse(pattern);
  EXPECT_THAT(glob, IsOk()) << pattern;
  return glob.ok() && glob->Matches(path);
}

constexpr char kGate[] = "model.layers.12.mlp.gate_proj";

TEST(GlobTest, StarStopsAtADot) {
  EXPECT_TRUE(Matches("model.layers.*.mlp.*", kGate));
  EXPECT_FALSE(Matches("model.*.gate_proj", kGate));
  EXPECT_FALSE(Matches("model.layers.*", kGate));
}

TEST(GlobTest, DoubleStarCrossesDots) {
  EXPECT_TRUE(Matches("model.**", kGate));
  EXPECT_TRUE(Matches("**.gate_proj", kGate));
  EXPECT_TRUE(Matches("**", kGate));
  EXPECT_FALSE(Matches("**.up_proj", kGate));
}

TEST(GlobTest, BracesAreAlternatives) {
  EXPECT_TRUE(Matches("model.layers.{0,12}.mlp.gate_proj", kGate));
  EXPECT_FALSE(Matches("model.layers.{0,1}.mlp.gate_proj", kGate));
  EXPECT_TRUE(Matches("model.layers.1?.mlp.{gate,up}_proj", kGate));
}

TEST(GlobTest, EverythingElseIsLiteral) {
  EXPECT_FALSE(Matches("model.layers.12.mlp.gate.proj", kGate));
  EXPECT_TRUE(Matches("a[0-9]", "a[0-9]"));
  EXPECT_FALSE(Matches("a[0-9]", "a1"));
}

TEST(GlobTest, RefusesWhatIsMalformed) {
  for (const char* pattern : {"", "{a", "a}", "{a{b}}", "}{"}) {
    EXPECT_THAT(Glob::Parse(pattern),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("")))
        << pattern;
  }
  EXPECT_THAT(Glob::Parse(std::string(257, 'a')),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("256")));
}

TEST(GlobTest, RefusesAnExplosionOfAlternatives) {
  EXPECT_THAT(Glob::Parse("{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("256")));
}

TEST(GlobTest, HostileStarsDoNotBacktrack) {
  const std::string pattern = std::string(200, '*') + "b";
  EXPECT_FALSE(Matches(pattern, std::string(200, 'a')));
}

}  // namespace
}  // namespace stockpot
