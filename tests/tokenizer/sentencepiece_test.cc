// tokenizer.model files that are broken or unusual. What good ones give is in
// golden_test.cc.

#include <cstdint>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "formats/tokenizer/charsmap.h"
#include "formats/tokenizer/sentencepiece_model.h"
#include "formats/tokenizer/sentencepiece_tokenizer.h"
#include "tests/testing/status_matchers.h"
#include "tests/tokenizer/golden_files.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::IsOkAndHolds;
using ::stockpot::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
using Type = SentencePieceModel::PieceType;

std::string ReadModel(const std::string& name) {
  std::ifstream file(GoldenPath(name) + "/tokenizer.model", std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// <unk>, </s>, "▁", "a", "b", "ab", "▁a"
SentencePieceModel SmallModel() {
  SentencePieceModel model;
  model.model_type = SentencePieceModel::ModelType::kBpe;
  model.remove_extra_whitespaces = false;
  model.pieces = {{"<unk>", 0, Type::kUnknown}, {"</s>", 0, Type::kControl},
                  {"▁", -3, Type::kNormal},     {"a", -4, Type::kNormal},
                  {"b", -5, Type::kNormal},     {"ab", -1, Type::kNormal},
                  {"▁a", -2, Type::kNormal}};
  return model;
}

absl::StatusOr<std::unique_ptr<SentencePieceTokenizer>> Build(
    SentencePieceModel model, const TokenizerConfig& config = {}) {
  return SentencePieceTokenizer::FromModel(std::move(model), config);
}

TEST(SentencePieceTest, BestScoreMergesFirst) {
  const auto tokenizer = Build(SmallModel());
  ASSERT_THAT(tokenizer, IsOk());
  EXPECT_THAT((*tokenizer)->Encode("ab", {}), IsOkAndHolds(ElementsAre(2, 5)));
  EXPECT_THAT((*tokenizer)->Encode("aab", {}), IsOkAndHolds(ElementsAre(6, 5)));
  EXPECT_THAT((*tokenizer)->Encode("axy", {}), IsOkAndHolds(ElementsAre(6, 0)));
  EXPECT_FALSE((*tokenizer)->bos_id().has_value());
  EXPECT_EQ((*tokenizer)->eos_id(), 1);
}

TEST(SentencePieceTest, UnusedPieceComesApartAgain) {
  SentencePieceModel model = SmallModel();
  model.pieces[5].type = Type::kUnused;
  const auto tokenizer = Build(std::move(model));
  ASSERT_THAT(tokenizer, IsOk());
  EXPECT_THAT((*tokenizer)->Encode("ab", {}),
              IsOkAndHolds(ElementsAre(2, 3, 4)));
}

TEST(SentencePieceTest, ControlTokensAreParsedOnlyWhenAsked) {
  TokenizerConfig config;
  config.add_eos_token = true;
  config.added_tokens = {{{"content", "<new>"}, {"id", 9}, {"special", true}}};
  const auto tokenizer = Build(SmallModel(), config);
  ASSERT_THAT(tokenizer, IsOk());
  EXPECT_EQ((*tokenizer)->vocab_size(), 10);
  EXPECT_THAT((*tokenizer)->Encode("a</s>", {}),
              IsOkAndHolds(ElementsAre(6, 0, 1)));
  EXPECT_THAT((*tokenizer)
                  ->Encode("a</s><new>", {.add_special_tokens = false,
                                          .parse_special_tokens = true}),
              IsOkAndHolds(ElementsAre(6, 1, 9)));
  EXPECT_THAT((*tokenizer)->Decode({6, 1, 9, 8, 5}, false),
              IsOkAndHolds(Eq("a</s><new>ab")));
  EXPECT_THAT((*tokenizer)->Decode({6, 1, 9, 8, 5}, true),
              IsOkAndHolds(Eq("aab")));
}

// A piece of the model that the config calls special is not text either.
TEST(SentencePieceTest, SpecialPieceIsNotMadeOfText) {
  TokenizerConfig config;
  config.added_tokens = {{{"content", "ab"}, {"special", true}}};
  const auto tokenizer = Build(SmallModel(), config);
  ASSERT_THAT(tokenizer, IsOk());
  EXPECT_TRUE((*tokenizer)->IsSpecial(5));
  EXPECT_THAT((*tokenizer)->Encode("ab", {}), IsOkAndHolds(ElementsAre(6, 4)));
  EXPECT_THAT((*tokenizer)->Encode("ab", {.parse_special_tokens = true}),
              IsOkAndHolds(ElementsAre(5)));
}

TEST(SentencePieceTest, OtherModelTypesAreRefusedByName) {
  SentencePieceModel model = SmallModel();
  model.model_type = SentencePieceModel::ModelType::kUnigram;
  EXPECT_THAT(Build(model), StatusIs(kInvalid, HasSubstr("UNIGRAM")));
  model = SmallModel();
  model.byte_fallback = true;
  EXPECT_THAT(Build(model), StatusIs(kInvalid, HasSubstr("byte")));
  model = SmallModel();
  model.pieces[3].text = "b";
  EXPECT_THAT(Build(model), StatusIs(kInvalid, HasSubstr("twice")));
  model = SmallModel();
  model.precompiled_charsmap = "broken";
  EXPECT_THAT(Build(model), StatusIs(kInvalid, HasSubstr("charsmap")));
}

TEST(SentencePieceTest, BytesThatAreNoModelAreRefused) {
  for (const char* bytes :
       {"", "x", "\x0a\x05", "\x0a\xff\xff\xff\xff\xff\x0f"}) {
    EXPECT_THAT(SentencePieceModel::Parse(bytes),
                StatusIs(kInvalid, HasSubstr("")));
  }
}

// Broken files: an error or a tokenizer, never a crash.
TEST(SentencePieceTest, DamagedModelsAreHandled) {
  std::mt19937 rng(3);
  for (const char* name : {"sentencepiece_llama", "sentencepiece_rules"}) {
    const std::string good = ReadModel(name);
    ASSERT_GT(good.size(), 1000u);
    for (int round = 0; round < 400; ++round) {
      std::string bytes = good;
      for (int i = rng() % 8; i >= 0; --i) {
        bytes[rng() % bytes.size()] = static_cast<char>(rng());
      }
      if (round % 2 == 0) bytes.resize(rng() % bytes.size());
      auto model = SentencePieceModel::Parse(bytes);
      if (!model.ok()) continue;
      const auto tokenizer = Build(*std::move(model));
      if (!tokenizer.ok()) continue;
      EXPECT_THAT((*tokenizer)->Encode("simmer \u00a0ﬁ 🦙\t料", {}),
                  IsOk());
    }
  }
}

TEST(CharsmapTest, DamagedTablesStayInBounds) {
  std::mt19937 rng(4);
  const auto model =
      SentencePieceModel::Parse(ReadModel("sentencepiece_rules"));
  ASSERT_THAT(model, IsOk());
  const std::string good = model->precompiled_charsmap;
  const auto intact = Charsmap::Parse(good);
  ASSERT_THAT(intact, IsOk());
  EXPECT_EQ(intact->Longest("\uFF21").replacement, "A");
  EXPECT_EQ(intact->Longest("a\u0301b").length, 3u);
  EXPECT_EQ(intact->Longest("b").length, 0u);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes = good;
    for (int i = 0; i < 20; ++i) {
      bytes[4 + rng() % (bytes.size() - 4)] = static_cast<char>(rng());
    }
    const auto map = Charsmap::Parse(bytes);
    if (!map.ok()) continue;
    map->Longest("\uFF21\uFB01a\u0301\U0001F999");
    map->Longest("\U0001F999");
    map->Longest("a\u0301");
  }
}

}  // namespace
}  // namespace stockpot
