#include "formats/tokenizer/bpe_model.h"

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "formats/tokenizer/merge_queue.h"
#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::testing::ElementsAre;

std::vector<int32_t> Encode(const nlohmann::json& json,
                            const std::string& word) {
  const auto model = BpeModel::FromJson(json, "model");
  EXPECT_THAT(model, IsOk());
  std::vector<int32_t> ids;
  if (model.ok()) model->Encode(word, nullptr, ids);
  return ids;
}

TEST(BpeModelTest, MergesGoByRankThenFromTheLeft) {
  const nlohmann::json json = {
      {"vocab",
       {{"a", 0}, {"b", 1}, {"c", 2}, {"bc", 3}, {"ab", 4}, {"aa", 5}}},
      {"merges", {"b c", "a b", "a a"}}};
  EXPECT_THAT(Encode(json, "abc"), ElementsAre(0, 3));
  EXPECT_THAT(Encode(json, "aaa"), ElementsAre(5, 0));
  EXPECT_THAT(Encode(json, "aab"), ElementsAre(0, 4));
}

TEST(BpeModelTest, MergesOfTokensWithSpacesAreSplitWhereBothSidesAreTokens) {
  const nlohmann::json json = {
      {"vocab", {{" ", 0}, {"  ", 1}, {"    ", 2}, {"a", 3}, {"  a", 4}}},
      {"merges", {"   ", "     ", nlohmann::json::array({"  ", "a"})}}};
  EXPECT_THAT(Encode(json, "    "), ElementsAre(2));
  EXPECT_THAT(Encode(json, "  a"), ElementsAre(4));
}

TEST(BpeModelTest, UnknownCharactersFuseOnlyWhenAsked) {
  nlohmann::json json = {{"vocab", {{"?", 0}, {"a", 1}}},
                         {"merges", nlohmann::json::array()},
                         {"unk_token", "?"}};
  EXPECT_THAT(Encode(json, "xyaz"), ElementsAre(0, 0, 1, 0));
  json["fuse_unk"] = true;
  EXPECT_THAT(Encode(json, "xyaz"), ElementsAre(0, 1, 0));
  json.erase("unk_token");
  EXPECT_THAT(Encode(json, "xyaz"), ElementsAre(1));
}

TEST(BpeModelTest, ByteFallbackSpellsUnknownCharacters) {
  const nlohmann::json json = {
      {"vocab", {{"a", 0}, {"<0xC3>", 1}, {"<0xA9>", 2}, {"?", 3}}},
      {"merges", nlohmann::json::array()},
      {"byte_fallback", true},
      {"unk_token", "?"}};
  EXPECT_THAT(Encode(json, "aé"), ElementsAre(0, 1, 2));
  EXPECT_THAT(Encode(json, "aü"), ElementsAre(0, 3));  // No <0xBC>.
}

TEST(BpeModelTest, PrefixAndSuffixMarkTheParts) {
  const nlohmann::json json = {
      {"vocab",
       {{"a", 0}, {"##a", 1}, {"##a</w>", 2}, {"aa", 3}, {"a</w>", 4}}},
      {"merges", {"a ##a"}},
      {"continuing_subword_prefix", "##"},
      {"end_of_word_suffix", "</w>"}};
  EXPECT_THAT(Encode(json, "a"), ElementsAre(4));
  EXPECT_THAT(Encode(json, "aaa"), ElementsAre(3, 2));
}

// Short words are scanned, long ones use the queue: a long word must be merged
// as its parts would be, when no merge crosses their borders.
TEST(BpeModelTest, LongWordsMergeAsShortOnes) {
  std::mt19937 rng(5);
  nlohmann::json vocab = {{"|", 0}};
  nlohmann::json merges = nlohmann::json::array();
  std::vector<std::string> tokens;
  for (const char* c : {"a", "b", "c"}) {
    vocab[c] = vocab.size();
    tokens.emplace_back(c);
  }
  while (tokens.size() < 60) {
    const std::string left = tokens[rng() % tokens.size()];
    const std::string right = tokens[rng() % tokens.size()];
    if (vocab.contains(left + right)) continue;
    vocab[left + right] = vocab.size();
    merges.push_back({left, right});
    tokens.push_back(left + right);
  }
  const auto model =
      BpeModel::FromJson({{"vocab", vocab}, {"merges", merges}}, "model");
  ASSERT_THAT(model, IsOk());
  for (int round = 0; round < 300; ++round) {
    std::string text;
    std::vector<int32_t> expected;
    while (text.size() < 200) {
      std::string part;
      for (size_t n = rng() % 20; part.size() < n;) part += "abc"[rng() % 3];
      part += "|";
      model->Encode(part, nullptr, expected);
      text += part;
    }
    std::vector<int32_t> actual;
    model->Encode(text, nullptr, actual);
    ASSERT_EQ(actual, expected) << text;
  }
}

TEST(MergeQueueTest, GivesLowestRankThenLeftmostWhateverTheOrder) {
  MergeQueue queue;
  std::vector<std::pair<uint32_t, int32_t>> popped;
  for (const auto& [rank, left] : std::vector<std::pair<uint32_t, int32_t>>{
           {2, 5}, {1, 9}, {2, 1}, {1, 3}, {2, 3}, {1, 4}}) {
    queue.Push(rank, {left, static_cast<int32_t>(rank)});
  }
  MergeQueue::Item item;
  ASSERT_TRUE(queue.Pop(&item));
  EXPECT_EQ(item.left, 3);
  queue.Push(1, {2, 1});
  queue.Push(0, {7, 0});
  std::vector<int32_t> lefts;
  while (queue.Pop(&item)) lefts.push_back(item.left);
  EXPECT_THAT(lefts, ElementsAre(7, 2, 4, 9, 1, 3, 5));
  EXPECT_FALSE(queue.Pop(&item));
  queue.Push(1, {8, 1});
  ASSERT_TRUE(queue.Pop(&item));
  EXPECT_EQ(item.left, 8);
}

}  // namespace
}  // namespace stockpot
