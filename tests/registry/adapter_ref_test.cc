#include "registry/adapter_ref.h"

#include <string>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/sha256.h"
#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::StatusIs;
using ::testing::_;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

TEST(AdapterRefTest, ParsesTheFourForms) {
  EXPECT_EQ(AdapterRef::Parse("sql")->name, "sql");
  EXPECT_EQ(AdapterRef::Parse("sql")->version, 0);
  EXPECT_EQ(AdapterRef::Parse("sql@3")->version, 3);
  EXPECT_EQ(AdapterRef::Parse("sql@2147483647")->version, kMaxVersion);
  EXPECT_EQ(AdapterRef::Parse("a.b-c_9@prod-1")->alias, "prod-1");
  const Digest digest = Sha256::Of("x");
  EXPECT_EQ(AdapterRef::Parse(digest.ToString())->digest, digest);
}

TEST(AdapterRefTest, TextReadsBackToTheSameRef) {
  for (const std::string& text :
       {std::string("sql"), std::string("sql@3"), std::string("sql@prod"),
        Sha256::Of("x").ToString()}) {
    const absl::StatusOr<AdapterRef> ref = AdapterRef::Parse(text);
    ASSERT_THAT(ref, IsOk());
    EXPECT_EQ(ref->ToString(), text);
    EXPECT_EQ(*AdapterRef::Parse(ref->ToString()), *ref);
  }
}

TEST(AdapterRefTest, RefusesWhatIsNoRef) {
  const std::string long_name(129, 'a');
  for (const std::string& text : {std::string(),
                                  std::string("@3"),
                                  std::string("Sql"),
                                  std::string("../etc"),
                                  std::string("a/b/c"),
                                  std::string("-a"),
                                  std::string("a."),
                                  std::string("a\n"),
                                  std::string("a\0b", 3),
                                  long_name,
                                  std::string(10000, 'a'),
                                  std::string("a@"),
                                  std::string("a@0"),
                                  std::string("a@01"),
                                  std::string("a@2147483648"),
                                  std::string("a@99999999999999999999"),
                                  std::string("a@3x"),
                                  std::string("a@-1"),
                                  std::string("a@Prod"),
                                  std::string("a@b@c"),
                                  std::string("a@b.c"),
                                  std::string("a@") + std::string(64, 'b'),
                                  std::string("sha256:12"),
                                  std::string("\xff")}) {
    EXPECT_THAT(AdapterRef::Parse(text), StatusIs(kInvalid, _)) << text;
  }
}

TEST(AdapterRefTest, ErrorSaysWhatNamesLookLikeAndEscapesTheText) {
  EXPECT_THAT(AdapterRef::Parse("a\nb"),
              StatusIs(kInvalid,
                       AllOf(HasSubstr("\"a\\nb\""), HasSubstr("a-z 0-9 . _ -"),
                             HasSubstr("name@alias"), Not(HasSubstr("\n")))));
}

TEST(AdapterRefTest, LongestNameAndAliasAreAccepted) {
  EXPECT_THAT(ValidateName(std::string(128, 'a')), IsOk());
  EXPECT_THAT(ValidateAlias(std::string(63, 'a')), IsOk());
  EXPECT_THAT(ValidateAlias("9a"), StatusIs(kInvalid, HasSubstr("letter")));
}

TEST(AdapterRefTest, LabelsAreBoundedAndPrintable) {
  EXPECT_THAT(ValidateLabels({{"team/x.y-z_1", "Zürich ✓"}, {"empty", ""}}),
              IsOk());
  EXPECT_THAT(ValidateLabels({{"Team", "x"}}), StatusIs(kInvalid, _));
  EXPECT_THAT(ValidateLabels({{"", "x"}}), StatusIs(kInvalid, _));
  EXPECT_THAT(ValidateLabels({{std::string(64, 'k'), "x"}}),
              StatusIs(kInvalid, _));
  EXPECT_THAT(ValidateLabels({{"k", std::string(257, 'v')}}),
              StatusIs(kInvalid, HasSubstr("\"k\"")));
  EXPECT_THAT(ValidateLabels({{"k", std::string(256, 'v')}}), IsOk());
  for (const char* value : {"a\nb", "\x7f", "\xc2\x85", "\xff", "\xc0\xaf",
                            "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"}) {
    EXPECT_THAT(ValidateLabels({{"k", value}}), StatusIs(kInvalid, _));
  }
  Labels labels;
  for (int i = 0; i < 64; ++i) {
    labels["k" + std::to_string(i)] = "v";
  }
  EXPECT_THAT(ValidateLabels(labels), IsOk());
  labels["one-more"] = "v";
  EXPECT_THAT(ValidateLabels(labels), StatusIs(kInvalid, HasSubstr("65")));
}

TEST(AdapterRefTest, TextMayHaveLinesButNoNulAndNoBadUtf8) {
  EXPECT_THAT(ValidateText("card", "# Ü\n\ttext", 64), IsOk());
  EXPECT_THAT(ValidateText("card", std::string("a\0b", 3), 64),
              StatusIs(kInvalid, HasSubstr("byte 1")));
  EXPECT_THAT(ValidateText("card", "ab\xff", 64),
              StatusIs(kInvalid, HasSubstr("byte 2")));
  EXPECT_THAT(ValidateText("card", "abc", 2),
              StatusIs(kInvalid, HasSubstr("card has 3 bytes")));
}

}  // namespace
}  // namespace stockpot
