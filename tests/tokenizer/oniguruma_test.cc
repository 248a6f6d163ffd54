#include "formats/tokenizer/oniguruma.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "formats/tokenizer/pattern.h"
#include "formats/tokenizer/split_behavior.h"
#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The matches of `regex` in `text`.
std::vector<std::string> Matches(const std::string& regex,
                                 const std::string& text) {
  std::vector<std::string> found;
  const auto pattern = Pattern::Regex(regex);
  EXPECT_THAT(pattern, IsOk()) << regex;
  if (!pattern.ok()) return found;
  const auto spans = pattern->FindMatches(text);
  EXPECT_THAT(spans, IsOk());
  for (const MatchSpan& s : *spans) {
    if (s.is_match) found.push_back(text.substr(s.begin, s.end - s.begin));
  }
  return found;
}

TEST(OnigurumaTest, SpaceLeavesTheMongolianSeparatorOut) {
  EXPECT_THAT(Matches("\\s", "a\u180e\u3000\x0b\u0085"),
              ElementsAre("\u3000", "\x0b", "\u0085"));
  EXPECT_THAT(Matches("[^\\s]+", "a\u180e b"), ElementsAre("a\u180e", "b"));
  EXPECT_THAT(Matches("[\\S]+", "a\u180e b"), ElementsAre("a\u180e", "b"));
  EXPECT_THAT(Matches("[\\s\\S]+", "a\u180e b"), ElementsAre("a\u180e b"));
}

TEST(OnigurumaTest, WordTakesMarks) {
  EXPECT_THAT(Matches("\\w+", "e\u0301 a_1\u0903-b"),
              ElementsAre("e\u0301", "a_1\u0903", "b"));
  EXPECT_THAT(Matches("\\W+", "a-. b"), ElementsAre("-. "));
}

TEST(OnigurumaTest, PropertiesKnowTheNewestCharacters) {
  EXPECT_THAT(Matches("\\p{L}+", "a\U00031350-"), ElementsAre("a\U00031350"));
  EXPECT_THAT(Matches("[^\\p{L}]+", "a\U00031350-"), ElementsAre("-"));
  EXPECT_THAT(Matches("\\P{L}+", "a\U00031350-"), ElementsAre("-"));
  EXPECT_THAT(Matches("\\p{^L}+", "a\U00031350-"), ElementsAre("-"));
  EXPECT_THAT(Matches("\\p{N}", "1\U0001E4F0"), ElementsAre("1", "\U0001E4F0"));
}

TEST(OnigurumaTest, HanMeansTheScript) {
  EXPECT_THAT(Matches("\\p{Han}+", "料理。、\U00031350"),
              ElementsAre("料理", "\U00031350"));
}

TEST(OnigurumaTest, SmallDifferencesOfSyntax) {
  EXPECT_THAT(Matches("\\h{2}", "xfF"), ElementsAre("fF"));
  EXPECT_THAT(Matches("a{,2}b", "aaab"), ElementsAre("aab"));
  EXPECT_THAT(Matches("a{x", "a{x"), ElementsAre("a{x"));
  EXPECT_THAT(Matches("\\u0041\\x{42}\\x43", "ABC"), ElementsAre("ABC"));
  EXPECT_THAT(Matches("^b$", "a\nb\nc"), ElementsAre("b"));
  EXPECT_THAT(Matches("[]a]+", "]a["), ElementsAre("]a"));
  EXPECT_THAT(Matches("(?i:'s)", "'S'ſ"), ElementsAre("'S", "'ſ"));
}

TEST(OnigurumaTest, EmptyMatchesDoNotFollowAMatch) {
  EXPECT_THAT(Matches("x*", "axb"), ElementsAre("", "x", ""));
}

TEST(OnigurumaTest, WhatDiffersAndIsNotKnownIsRefused) {
  for (const char* regex :
       {"[a[bc]]", "[a&&b]", "a{1,2}+", "(?m:.)", "(?<n>a)", "\\K", "\\G",
        "\\R", "[\\W]", "\\", "[a", "\\p{L", "\\pL", "\\xFF", "\\1"}) {
    EXPECT_THAT(
        Pattern::Regex(regex),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("regex")))
        << regex;
  }
  EXPECT_THAT(Pattern::Regex("(a"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("(a")));
  EXPECT_THAT(Pattern::Regex("\\p{Klingon}"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("regex")));
}

std::vector<std::string> SplitAtDashes(SplitBehavior behavior) {
  const std::string text = "-a--b";
  std::vector<std::string> parts;
  for (const MatchSpan& s :
       ApplySplitBehavior(*Pattern::Literal("-").FindMatches(text), behavior)) {
    parts.push_back(text.substr(s.begin, s.end - s.begin));
  }
  return parts;
}

TEST(SplitBehaviorTest, DelimitersGoWhereItSays) {
  EXPECT_THAT(SplitAtDashes(SplitBehavior::kRemoved), ElementsAre("a", "b"));
  EXPECT_THAT(SplitAtDashes(SplitBehavior::kIsolated),
              ElementsAre("-", "a", "-", "-", "b"));
  EXPECT_THAT(SplitAtDashes(SplitBehavior::kContiguous),
              ElementsAre("-", "a", "--", "b"));
  EXPECT_THAT(SplitAtDashes(SplitBehavior::kMergedWithPrevious),
              ElementsAre("-", "a-", "-", "b"));
  EXPECT_THAT(SplitAtDashes(SplitBehavior::kMergedWithNext),
              ElementsAre("-a", "-", "-b"));
}

}  // namespace
}  // namespace stockpot
