// Tokenizers of each family against the reference packages.

#include <cstdint>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "formats/tokenizer/stream_decoder.h"
#include "formats/tokenizer/tokenizer.h"
#include "formats/tokenizer/unicode.h"
#include "tests/testing/status_matchers.h"
#include "tests/tokenizer/golden_files.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::IsOkAndHolds;
using ::testing::Eq;
using Ids = std::vector<int32_t>;

class GoldenTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    texts_ = ReadJson(GoldenPath("corpus.json"));
    golden_ = ReadJson(GoldenPath(GetParam()) + "/golden.json");
    ASSERT_TRUE(texts_.is_array());
    ASSERT_TRUE(golden_.is_object());
    tokenizer_ = LoadOrFail(GoldenPath(GetParam()));
    ASSERT_NE(tokenizer_, nullptr);
  }

  nlohmann::json texts_;
  nlohmann::json golden_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_P(GoldenTest, EncodesAsTheReference) {
  const nlohmann::json& rows = golden_["encode"];
  ASSERT_EQ(rows.size(), texts_.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::string text = texts_[i];
    SCOPED_TRACE(texts_[i].dump());
    const nlohmann::json& row = rows[i];
    const Ids ids = row[0];
    EXPECT_THAT(tokenizer_->Encode(text, {}), IsOkAndHolds(Eq(ids)));
    if (!row[1].is_null()) {
      EXPECT_THAT(tokenizer_->Encode(text, {.add_special_tokens = false}),
                  IsOkAndHolds(Eq(row[1].get<Ids>())));
    }
    if (row.size() > 2) {
      EXPECT_THAT(tokenizer_->Encode(text, {.parse_special_tokens = true}),
                  IsOkAndHolds(Eq(row[2].is_null() ? ids : row[2].get<Ids>())));
    }
  }
}

TEST_P(GoldenTest, DecodesAsTheReference) {
  for (const nlohmann::json& row : golden_["decode"]) {
    SCOPED_TRACE(row[0].dump());
    const Ids ids = row[0];
    if (!row[1].is_null()) {
      EXPECT_THAT(tokenizer_->Decode(ids, /*skip_special=*/false),
                  IsOkAndHolds(Eq(row[1].get<std::string>())));
    }
    const nlohmann::json& skipped = row[2].is_null() ? row[1] : row[2];
    EXPECT_THAT(tokenizer_->Decode(ids, /*skip_special=*/true),
                IsOkAndHolds(Eq(skipped.get<std::string>())));
  }
}

TEST_P(GoldenTest, KnowsItsVocabulary) {
  const int32_t size = golden_["vocab_size"];
  EXPECT_EQ(tokenizer_->vocab_size(), size);
  const std::set<int32_t> special = golden_["special"];
  for (int32_t id = 0; id < size; ++id) {
    EXPECT_EQ(tokenizer_->IsSpecial(id), special.contains(id)) << id;
    const auto token = tokenizer_->IdToToken(id);
    ASSERT_TRUE(token.has_value()) << id;
    EXPECT_EQ(tokenizer_->TokenToId(*token), id) << *token;
  }
  EXPECT_FALSE(tokenizer_->IsSpecial(-1));
  EXPECT_FALSE(tokenizer_->IsSpecial(size));
  EXPECT_FALSE(tokenizer_->IdToToken(size).has_value());
  EXPECT_FALSE(tokenizer_->TokenToId("no such token").has_value());
}

// Whatever the ids: each piece is whole characters, and all pieces together are
// the full decode.
TEST_P(GoldenTest, StreamsRandomIdsAsTheFullDecode) {
  std::mt19937 rng(11);
  std::vector<int32_t> byte_ids;
  for (int b = 0x80; b < 0x100; ++b) {
    char name[8];
    std::snprintf(name, sizeof(name), "<0x%02X>", b);
    const auto id = tokenizer_->TokenToId(name);
    if (id.has_value()) byte_ids.push_back(*id);
  }
  for (int round = 0; round < 300; ++round) {
    Ids ids;
    for (size_t n = rng() % 40; ids.size() < n;) {
      const bool is_byte = !byte_ids.empty() && rng() % 2 == 0;
      ids.push_back(
          is_byte ? byte_ids[rng() % byte_ids.size()]
                  : static_cast<int32_t>(rng() % tokenizer_->vocab_size()));
    }
    for (const bool skip_special : {false, true}) {
      const auto full = tokenizer_->Decode(ids, skip_special);
      ASSERT_THAT(full, IsOk());
      StreamDecoder decoder(*tokenizer_, skip_special);
      std::string streamed;
      for (const int32_t id : ids) {
        const std::string piece = decoder.Push(id);
        ASSERT_THAT(ValidateUtf8(piece), IsOk());
        streamed += piece;
      }
      streamed += decoder.Finish();
      ASSERT_EQ(streamed, *full) << nlohmann::json(ids).dump();
      ASSERT_THAT(ValidateUtf8(*full), IsOk());
    }
  }
}

TEST_P(GoldenTest, IdsBeyondTheVocabularyGiveNoStreamedText) {
  StreamDecoder decoder(*tokenizer_, true);
  EXPECT_EQ(decoder.Push(tokenizer_->vocab_size()), "");
  EXPECT_EQ(decoder.Push(-1), "");
  EXPECT_EQ(decoder.Push(1 << 30), "");
  EXPECT_EQ(decoder.Finish(), "");
}

INSTANTIATE_TEST_SUITE_P(
    Families, GoldenTest,
    ::testing::Values("gpt2", "llama3", "qwen2", "smollm", "o200k", "deepseek",
                      "splits", "llama2", "metaspace_first", "metaspace_always",
                      "word_suffix", "subword_prefix", "sentencepiece_llama",
                      "sentencepiece_rules"),
    [](const auto& info) { return std::string(info.param); });

TEST(StreamDecoderTest, TextComesOutWithTheTokenThatCompletesIt) {
  const auto tokenizer = LoadOrFail(GoldenPath("smollm"));
  ASSERT_NE(tokenizer, nullptr);
  const auto ids = tokenizer->Encode("hi 𝔘", {});
  ASSERT_THAT(ids, IsOk());
  ASSERT_GE(ids->size(), 5u);  // Four bytes of one character at the end.
  StreamDecoder decoder(*tokenizer, true);
  std::string text;
  for (size_t i = 0; i + 1 < ids->size(); ++i) text += decoder.Push((*ids)[i]);
  EXPECT_EQ(text, "hi ");
  EXPECT_EQ(decoder.Push(ids->back()), "𝔘");
  EXPECT_EQ(decoder.Finish(), "");
}

TEST(StreamDecoderTest, UnfinishedCharacterEndsAsOneReplacement) {
  const auto tokenizer = LoadOrFail(GoldenPath("smollm"));
  ASSERT_NE(tokenizer, nullptr);
  const auto ids = tokenizer->Encode("𝔘", {});
  ASSERT_THAT(ids, IsOk());
  StreamDecoder decoder(*tokenizer, true);
  EXPECT_EQ(decoder.Push((*ids)[0]), "");
  EXPECT_EQ(decoder.Push((*ids)[1]), "");
  EXPECT_EQ(decoder.Finish(), "\xEF\xBF\xBD");
}

TEST(StreamDecoderTest, RunOfByteTokensIsHeldBackUntilItEnds) {
  const auto tokenizer = LoadOrFail(GoldenPath("llama2"));
  ASSERT_NE(tokenizer, nullptr);
  const auto byte = [&](const char* name) {
    return *tokenizer->TokenToId(name);
  };
  const int32_t word = *tokenizer->TokenToId("▁");
  StreamDecoder good(*tokenizer, true);
  EXPECT_EQ(good.Push(byte("<0xE4>")), "");
  EXPECT_EQ(good.Push(byte("<0xB8>")), "");
  EXPECT_EQ(good.Push(byte("<0xAD>")), "");
  EXPECT_EQ(good.Push(word), "中 ");
  StreamDecoder broken(*tokenizer, true);
  EXPECT_EQ(broken.Push(byte("<0xE4>")), "");
  EXPECT_EQ(broken.Push(byte("<0xB8>")), "");
  EXPECT_EQ(broken.Push(byte("<0xAD>")), "");
  EXPECT_EQ(broken.Push(byte("<0xFF>")), "");
  EXPECT_EQ(broken.Finish(),
            "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
}

}  // namespace
}  // namespace stockpot
