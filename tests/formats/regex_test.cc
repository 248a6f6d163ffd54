#include "formats/regex.h"

#include <string>

#include "gmock/gmock.h"

#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::IsOkAndHolds;
using ::stockpot::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

TEST(RegexTest, FullMatchTriesEveryAlternative) {
  const auto regex = Regex::Compile("q|q_proj", 1000);
  ASSERT_THAT(regex, IsOk());
  EXPECT_THAT(regex->FullMatch("q_proj"), IsOkAndHolds(true));
  EXPECT_THAT(regex->FullMatch("q_pro"), IsOkAndHolds(false));
  EXPECT_THAT(regex->FullMatch("xq"), IsOkAndHolds(false));
  EXPECT_THAT(regex->FullMatch(""), IsOkAndHolds(false));
}

TEST(RegexTest, PrefixMatchStartsAtTheBeginning) {
  const auto regex = Regex::Compile("a(?P<idx>\\d*)", 1000);
  ASSERT_THAT(regex, IsOk());
  std::string group = "old";
  EXPECT_THAT(regex->PrefixMatch("a12b", "idx", &group), IsOkAndHolds(true));
  EXPECT_EQ(group, "12");
  EXPECT_THAT(regex->PrefixMatch("ab", "idx", &group), IsOkAndHolds(true));
  EXPECT_EQ(group, "");
  EXPECT_THAT(regex->PrefixMatch("ba"), IsOkAndHolds(false));
}

TEST(RegexTest, BadPatternsSayWhere) {
  EXPECT_THAT(
      Regex::Compile("ab(c", 1000),
      StatusIs(kInvalid, AllOf(HasSubstr("\"ab(c\""), HasSubstr("at byte 4"))));
  for (const std::string& bad :
       {std::string("\xFF"), std::string(200, '('), std::string("\\C"),
        std::string("a{1,1000}{1,1000}{1,1000}"),
        std::string((64 << 10) + 1, 'a')}) {
    EXPECT_FALSE(Regex::Compile(bad, 1000).ok());
  }
}

TEST(RegexTest, PatternCannotRaiseItsOwnLimit) {
  const auto regex = Regex::Compile("(*LIMIT_MATCH=4000000000)(a+)+b", 1000);
  ASSERT_THAT(regex, IsOk());
  EXPECT_THAT(regex->FullMatch(std::string(40, 'a') + "cb"),
              StatusIs(kInvalid, HasSubstr("match limit")));
}

TEST(RegexTest, EndlessRecursionEnds) {
  for (const char* pattern : {"(?R)*x", "(a|(?1))*b", "(?:a?){50}a{50}"}) {
    const auto regex = Regex::Compile(pattern, 1000);
    if (regex.ok()) {
      const auto result = regex->FullMatch(std::string(49, 'a'));
      EXPECT_FALSE(result.ok() && *result) << pattern;
    }
  }
}

}  // namespace
}  // namespace stockpot
