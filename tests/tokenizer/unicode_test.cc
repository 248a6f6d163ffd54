#include "formats/tokenizer/unicode.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "formats/tokenizer/byte_alphabet.h"
#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::StatusIs;
using ::testing::HasSubstr;

TEST(UnicodeTest, Utf8IsCheckedStrictly) {
  EXPECT_THAT(ValidateUtf8(std::string("a\0é料🦙\xF4\x8F\xBF\xBF", 15)),
              IsOk());
  for (const char* bad :
       {"ok\x80", "ok\xC0\xAF", "ok\xC3", "ok\xE0\x9F\xBF", "ok\xED\xA0\x80",
        "ok\xF0\x8F\xBF\xBF", "ok\xF4\x90\x80\x80", "ok\xF5\x80\x80\x80",
        "ok\xE2\x28\xA1", "ok\xFF"}) {
    EXPECT_THAT(ValidateUtf8(bad), StatusIs(absl::StatusCode::kInvalidArgument,
                                            HasSubstr("byte 2")));
  }
}

TEST(UnicodeTest, EveryCharacterReadsBackAsWritten) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text = "x";
    AppendChar(c, text);
    ASSERT_THAT(ValidateUtf8(text), IsOk());
    size_t pos = 1;
    ASSERT_EQ(NextChar(text, &pos), c);
    ASSERT_EQ(pos, text.size());
    ASSERT_EQ(PreviousCharStart(text, text.size()), 1u);
  }
}

TEST(UnicodeTest, NormalFormsAreThoseOfUax15) {
  const auto normalize = [](const char* text, NormalForm form) {
    return NormalizeUnicode(text, form);
  };
  EXPECT_EQ(normalize("e\u0301", NormalForm::kNfc), "é");
  EXPECT_EQ(normalize("é", NormalForm::kNfd), "e\u0301");
  EXPECT_EQ(normalize("ﬁ①", NormalForm::kNfc), "ﬁ①");
  EXPECT_EQ(normalize("ﬁ①", NormalForm::kNfkc), "fi1");
  EXPECT_EQ(normalize("한", NormalForm::kNfkd), "\u1112\u1161\u11ab");
  EXPECT_EQ(normalize("\u1112\u1161\u11ab", NormalForm::kNfkc), "한");
  // Marks are ordered by class: dot below (220) before acute (230).
  EXPECT_EQ(normalize("q\u0301\u0323", NormalForm::kNfd), "q\u0323\u0301");
  EXPECT_EQ(normalize("", NormalForm::kNfc), "");
}

TEST(UnicodeTest, LowercaseNeedsNoContext) {
  EXPECT_EQ(Lowercase("AÉΣΑΣİ🦙"), "aéσασi\u0307🦙");
}

TEST(UnicodeTest, ClassesAreThoseOfRust) {
  EXPECT_TRUE(IsWhitespace(0x85));
  EXPECT_FALSE(IsWhitespace(0x180E));
  EXPECT_FALSE(IsWhitespace(0x200B));
  EXPECT_TRUE(IsNumeric(U'½'));
  EXPECT_TRUE(IsNumeric(0x1E4F0));  // Of Unicode 15.
  EXPECT_FALSE(IsNumeric(U'一'));
  EXPECT_TRUE(IsPunctuation(U'$'));
  EXPECT_TRUE(IsPunctuation(U'。'));
  EXPECT_FALSE(IsPunctuation(U'€'));
  EXPECT_TRUE(IsWordCharacter(U'_'));
  EXPECT_TRUE(IsWordCharacter(0x0301));
  EXPECT_TRUE(IsWordCharacter(U'ⓐ'));
  EXPECT_FALSE(IsWordCharacter(U'½'));
  EXPECT_FALSE(IsWordCharacter(U'-'));
}

TEST(UnicodeTest, ByteAlphabetHoldsEveryByte) {
  for (int b = 0; b < 256; ++b) {
    const std::string byte(1, static_cast<char>(b));
    const std::string written = ToByteAlphabet(byte);
    EXPECT_THAT(ValidateUtf8(written), IsOk());
    std::string back;
    AppendFromByteAlphabet(written, back);
    EXPECT_EQ(back, byte) << b;
  }
  EXPECT_EQ(ToByteAlphabet(" a\n\xC2\xAD"), "ĠaĊÂŃ");
}

TEST(LossyUtf8Test, BrokenPartsBecomeReplacements) {
  const auto decode = [](LossyUtf8::Replace replace, absl::string_view bytes) {
    LossyUtf8 decoder(replace);
    std::string out;
    for (size_t i = 0; i < bytes.size(); ++i) {
      decoder.Push(bytes.substr(i, 1), out);
    }
    decoder.Finish(out);
    return out;
  };
  const std::string r = kReplacementCharacter;
  using Replace = LossyUtf8::Replace;
  EXPECT_EQ(decode(Replace::kPerPart,
                   "a\xE4\xB8"
                   "b"),
            "a" + r + "b");
  EXPECT_EQ(decode(Replace::kPerByte,
                   "a\xE4\xB8"
                   "b"),
            "a" + r + r + "b");
  EXPECT_EQ(decode(Replace::kPerPart, "\xF0\x9F\xA6\xE4\xB8\xAD"), r + "中");
  EXPECT_EQ(decode(Replace::kPerPart, "\xED\xA0\x80"), r + r + r);
  EXPECT_EQ(decode(Replace::kPerPart, "\xC0\xAF\xF0\x9F"), r + r + r);
}

}  // namespace
}  // namespace stockpot
