#include "client/text.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::testing::HasSubstr;
using testing::IsOkAndHolds;
using ::testing::Pair;
using testing::StatusIs;

TEST(TextTest, ControlCharactersAreReplacedOthersKept) {
  EXPECT_EQ(PrintableText("a\x1b[31mb\x07\x7f"), "a\uFFFD[31mb\uFFFD\uFFFD");
  EXPECT_EQ(PrintableText("\u009b31m"), "\uFFFD31m");
  EXPECT_EQ(PrintableText("tab\tline\n\u00e4\U0001F600"),
            "tab\tline\n\u00e4\U0001F600");
  EXPECT_EQ(PrintableText(std::string("a\0b", 3)), "a\uFFFDb");
  EXPECT_EQ(PrintableText("bad\xff byte"), "bad\xff byte");
}

TEST(TextTest, IllFormedUtf8IsSeen) {
  EXPECT_TRUE(IsUtf8(""));
  EXPECT_TRUE(IsUtf8("a\u00e4\u20ac\U0001F600\U0010FFFF"));
  EXPECT_FALSE(IsUtf8("\xff"));
  EXPECT_FALSE(IsUtf8("\xc3"));              // Cut short.
  EXPECT_FALSE(IsUtf8("\xc0\x80"));          // Overlong.
  EXPECT_FALSE(IsUtf8("\xe0\x80\x80"));      // Overlong.
  EXPECT_FALSE(IsUtf8("\xed\xa0\x80"));      // Surrogate.
  EXPECT_FALSE(IsUtf8("\xf4\x90\x80\x80"));  // Over U+10FFFF.
  EXPECT_FALSE(IsUtf8("\xe2\x82 "));
}

TEST(TextTest, EscapesAreResolvedAndUnknownOnesRefused) {
  EXPECT_THAT(Unescape(R"(a\nb\t\r\\n)"), IsOkAndHolds("a\nb\t\r\\n"));
  EXPECT_THAT(Unescape(R"(a\x)"), StatusIs(absl::StatusCode::kInvalidArgument,
                                           HasSubstr("byte 1")));
  EXPECT_THAT(Unescape("a\\"), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("byte 1")));
}

TEST(TextTest, TemplateTakesThePromptAsItIs) {
  EXPECT_THAT(ApplyTemplate(R"(<|user|>\n{}<|end|>\n)", R"(a\n{}b)"),
              IsOkAndHolds("<|user|>\na\\n{}b<|end|>\n"));
}

TEST(TextTest, TemplateNeedsOneHole) {
  for (const char* format : {"none", "{} and {}", ""}) {
    EXPECT_THAT(ApplyTemplate(format, "x"),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("{} exactly once")));
  }
}

TEST(TextTest, KeyValueSplitsAtTheFirstEquals) {
  EXPECT_THAT(ParseKeyValue("a=b=c"), IsOkAndHolds(Pair("a", "b=c")));
  EXPECT_THAT(ParseKeyValue("a="), IsOkAndHolds(Pair("a", "")));
  EXPECT_FALSE(ParseKeyValue("a").ok());
  EXPECT_FALSE(ParseKeyValue("=b").ok());
}

TEST(TextTest, BytesGetTheirUnit) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1536), "1.5 KiB");
  EXPECT_EQ(FormatBytes(uint64_t{26} << 20), "26.0 MiB");
  EXPECT_EQ(FormatBytes(uint64_t{3} << 40), "3.0 TiB");
}

}  // namespace
}  // namespace stockpot
