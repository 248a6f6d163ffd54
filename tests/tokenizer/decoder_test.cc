#include "formats/tokenizer/decoder.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::testing::ElementsAre;

// What each token brings, and at the end what Finish brings.
std::vector<std::string> Pieces(const char* json,
                                const std::vector<std::string>& tokens) {
  const auto decoder =
      Decoder::FromJson(nlohmann::json::parse(json), "decoder");
  EXPECT_THAT(decoder, IsOk());
  std::vector<std::string> pieces;
  if (!decoder.ok()) return pieces;
  const auto stream = decoder->NewStream();
  for (const std::string& token : tokens) {
    pieces.emplace_back();
    stream->Push(token, pieces.back());
  }
  pieces.emplace_back();
  stream->Finish(pieces.back());
  return pieces;
}

TEST(DecoderTest, WithoutDecoderTokensStandApart) {
  EXPECT_THAT(Pieces("null", {"a", "b", "c"}),
              ElementsAre("a", " b", " c", ""));
}

TEST(DecoderTest, StripBehindFuseCutsTheWholeText) {
  const char* json = R"({"type": "Sequence", "decoders": [
      {"type": "Fuse"},
      {"type": "Strip", "content": " ", "start": 2, "stop": 1}]})";
  EXPECT_THAT(Pieces(json, {" ", " ", " a", " ", "  ", "b "}),
              ElementsAre("", "", " a", "", "  ", " b", ""));
  EXPECT_THAT(Pieces(json, {"a "}), ElementsAre("a", ""));
  EXPECT_THAT(Pieces(json, {" "}), ElementsAre("", ""));
}

TEST(DecoderTest, StripOfTokensCutsEach) {
  EXPECT_THAT(
      Pieces(R"({"type": "Strip", "content": "▁", "start": 1, "stop": 1})",
             {"▁▁a▁", "▁", "b"}),
      ElementsAre("▁a", "", "b", ""));
}

TEST(DecoderTest, ReplaceBehindFuseFindsMatchesAcrossTokens) {
  const char* json = R"({"type": "Sequence", "decoders": [
      {"type": "Fuse"},
      {"type": "Replace", "pattern": {"String": "abab"}, "content": "X"}]})";
  EXPECT_THAT(Pieces(json, {"a", "ba", "bab", "ab", "a"}),
              ElementsAre("", "", "X", "X", "", "a"));
  EXPECT_THAT(Pieces(json, {"ab", "ac"}), ElementsAre("", "abac", ""));
}

TEST(DecoderTest, ReplaceTakesARegexOnTokens) {
  EXPECT_THAT(Pieces(R"({"type": "Sequence", "decoders": [
      {"type": "Replace", "pattern": {"Regex": "x+$"}, "content": "."}]})",
                     {"axx", "xb"}),
              ElementsAre("a.", "xb", ""));
}

TEST(DecoderTest, MetaspaceDropsTheFirstMarkOnly) {
  EXPECT_THAT(Pieces(R"({"type": "Metaspace", "replacement": "▁",
                         "prepend_scheme": "always"})",
                     {"▁a", "▁b"}),
              ElementsAre("a", " b", ""));
  EXPECT_THAT(Pieces(R"({"type": "Metaspace", "replacement": "▁",
                         "prepend_scheme": "never"})",
                     {"▁a", "▁b"}),
              ElementsAre(" a", " b", ""));
}

TEST(DecoderTest, SuffixOfTheLastTokenGivesNoSpace) {
  EXPECT_THAT(Pieces(R"({"type": "BPEDecoder", "suffix": "</w>"})",
                     {"a", "b</w>", "c</w>"}),
              ElementsAre("", "a", "b ", "c"));
}

TEST(DecoderTest, TokenOutsideTheByteAlphabetIsTakenAsItIs) {
  EXPECT_THAT(Pieces(R"({"type": "ByteLevel"})", {"Ġa", "Ġ料", "Ã", "©"}),
              ElementsAre(" a", "Ġ料", "", "é", ""));
}

}  // namespace
}  // namespace stockpot
