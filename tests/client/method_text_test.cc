#include "client/method_text.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

TEST(MethodTextTest, NoWordsSetNothing) {
  v1::Recipe recipe;
  ASSERT_THAT(SetMethod({}, recipe), IsOk());
  EXPECT_EQ(recipe.method_case(), v1::Recipe::METHOD_NOT_SET);
  EXPECT_FALSE(recipe.pico());
}

TEST(MethodTextTest, OptionsFillTheMethodsMessage) {
  v1::Recipe recipe;
  ASSERT_THAT(SetMethod({.method = "dare",
                         .options = {{"density", "0.3"},
                                     {"elect_signs", "true"},
                                     {"sign_election", "frequency"},
                                     {"seed", "18446744073709551615"},
                                     {"space", "core"},
                                     {"rank", "16"},
                                     {"dialect", "mergekit"},
                                     {"lambda", "-0.5"}},
                         .pico = true},
                        recipe),
              IsOk());
  const v1::DareMethod& dare = recipe.dare();
  EXPECT_EQ(dare.density(), 0.3f);
  EXPECT_TRUE(dare.elect_signs());
  EXPECT_EQ(dare.sign_election(), v1::TiesMethod::SIGN_ELECTION_FREQUENCY);
  EXPECT_EQ(dare.seed(), ~uint64_t{0});
  EXPECT_EQ(dare.space(), v1::TiesMethod::SPACE_CORE);
  EXPECT_EQ(dare.rank(), 16u);
  EXPECT_EQ(dare.dialect(), v1::MERGE_DIALECT_MERGEKIT);
  EXPECT_EQ(dare.lambda(), -0.5f);
  EXPECT_TRUE(recipe.pico());
}

TEST(MethodTextTest, EveryMethodCanBeNamed) {
  for (const char* method :
       {"cat", "linear", "lorahub", "svd", "ties", "dare", "magnitude_prune",
        "della", "breadcrumbs", "knots", "tsv", "iso", "compress_then_merge"}) {
    v1::Recipe recipe;
    ASSERT_THAT(SetMethod({.method = method}, recipe), IsOk());
    EXPECT_NE(recipe.method_case(), v1::Recipe::METHOD_NOT_SET) << method;
  }
  v1::Recipe recipe;
  ASSERT_THAT(
      SetMethod({.method = "knots", .options = {{"rule", "dare"}}}, recipe),
      IsOk());
  EXPECT_EQ(recipe.knots().rule(), v1::INNER_RULE_DARE);
  ASSERT_THAT(SetMethod({.method = "compress_then_merge",
                         .options = {{"beta", "0.25"}}},
                        recipe),
              IsOk());
  EXPECT_EQ(recipe.compress_then_merge().beta(), 0.25f);
}

TEST(MethodTextTest, WhatIsWrongIsNamedTogetherWithWhatIsThere) {
  v1::Recipe recipe;
  EXPECT_THAT(SetMethod({.method = "tise"}, recipe),
              StatusIs(kInvalid, AllOf(HasSubstr("tise"), HasSubstr("ties"))));
  EXPECT_THAT(
      SetMethod({.options = {{"density", "0.3"}}}, recipe),
      StatusIs(kInvalid, AllOf(HasSubstr("--density"), HasSubstr("--method"))));
  EXPECT_THAT(
      SetMethod({.method = "ties", .options = {{"gamma", "0.1"}}}, recipe),
      StatusIs(kInvalid, AllOf(HasSubstr("--gamma"), HasSubstr("--density"),
                               HasSubstr("--sign-election"))));
  EXPECT_THAT(SetMethod({.method = "svd", .options = {{"seed", "1"}}}, recipe),
              StatusIs(kInvalid,
                       AllOf(HasSubstr("--merge-seed"), HasSubstr("--rank"))));
  EXPECT_THAT(SetMethod({.method = "cat", .options = {{"rank", "1"}}}, recipe),
              StatusIs(kInvalid, HasSubstr("no options")));
}

TEST(MethodTextTest, ValuesOfAnotherTypeAreRefused) {
  for (const auto& [field, value] :
       std::vector<std::pair<std::string, std::string>>{
           {"density", ""},
           {"density", "half"},
           {"rank", "-1"},
           {"rank", "4294967296"},
           {"rank", "1.5"},
           {"space", ""},
           {"space", "unspecified"},
           {"space", "SPACE_CORE"},
           {"sign_election", "most"}}) {
    v1::Recipe recipe;
    EXPECT_THAT(
        SetMethod({.method = "ties", .options = {{field, value}}}, recipe),
        StatusIs(kInvalid, HasSubstr("'" + value + "'")))
        << field;
  }
  v1::Recipe recipe;
  EXPECT_THAT(
      SetMethod({.method = "ties", .options = {{"space", "x"}}}, recipe),
      StatusIs(kInvalid, HasSubstr("delta or factors or core")));
}

}  // namespace
}  // namespace stockpot
