#include "formats/tokenizer/added_tokens.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::testing::ElementsAre;

class AddedTokensTest : public ::testing::Test {
 protected:
  // Shows segments as text, tokens in brackets.
  std::vector<std::string> Find(const std::vector<nlohmann::json>& list,
                                const std::string& text,
                                bool parse_special = true) {
    const auto normalizer = Normalizer::FromJson(nlohmann::json(), "");
    const auto added = AddedTokens::FromJson(nlohmann::json(list), **normalizer,
                                             "added_tokens");
    EXPECT_THAT(added, IsOk());
    std::vector<std::string> shown;
    if (!added.ok()) return shown;
    for (const auto& s : added->Find(text, false, parse_special)) {
      const std::string part = text.substr(s.begin, s.end - s.begin);
      shown.push_back(s.token == nullptr ? part : absl::StrCat("[", part, "]"));
    }
    return shown;
  }
  static nlohmann::json Token(const char* content, int id,
                              const char* flag = "special") {
    return {
        {"content", content}, {"id", id}, {"normalized", false}, {flag, true}};
  }
};

TEST_F(AddedTokensTest, LongestTokenWinsAtTheLeftmostPlace) {
  EXPECT_THAT(
      Find({Token("<a", 0), Token("<a>", 1), Token("a>b", 2)}, "x<a>b<a!"),
      ElementsAre("x", "[<a>]", "b", "[<a]", "!"));
}

TEST_F(AddedTokensTest, SpecialTokensAreTextUnlessParsed) {
  EXPECT_THAT(
      Find({Token("<s>", 0), Token("new", 1, "lstrip")}, "<s>new", false),
      ElementsAre("<s>", "[new]"));
}

TEST_F(AddedTokensTest, StripTakesWhiteSpaceButNotTwice) {
  EXPECT_THAT(Find({Token("L", 0, "lstrip"), Token("R", 1, "rstrip")},
                   "a \u3000L b R\n L"),
              ElementsAre("a", "[ \u3000L]", " b ", "[R\n ]", "[L]"));
}

TEST_F(AddedTokensTest, SingleWordNeedsBordersOnBothSides) {
  EXPECT_THAT(Find({Token("add", 0, "single_word")}, "add addé ,add_ add"),
              ElementsAre("[add]", " addé ,add_ ", "[add]"));
}

TEST_F(AddedTokensTest, NothingIsFoundInNothing) {
  EXPECT_THAT(Find({Token("x", 0)}, ""), ElementsAre());
  EXPECT_THAT(Find({}, "x"), ElementsAre("x"));
}

}  // namespace
}  // namespace stockpot
