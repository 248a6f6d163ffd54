// What Tokenizer::Load refuses, and in which words.

#include <chrono>
#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "formats/tokenizer/tokenizer.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"
#include "tests/tokenizer/golden_files.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::IsOkAndHolds;
using ::stockpot::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::HasSubstr;
using ::testing::Not;
using Ids = std::vector<int32_t>;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

class LoadTest : public ::testing::Test {
 protected:
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(absl::StrCat(dir_.path(), "/", name), std::ios::binary)
        << text;
  }
  absl::StatusOr<std::unique_ptr<Tokenizer>> Load() {
    return Tokenizer::Load(dir_.path());
  }
  // A word-level tokenizer over a, b, ab and two added tokens, changed at
  // `pointer` to `value`.
  absl::StatusOr<std::unique_ptr<Tokenizer>> LoadWith(
      const std::string& pointer, const nlohmann::json& value) {
    nlohmann::json json = nlohmann::json::parse(R"({
      "version": "1.0",
      "added_tokens": [
        {"id": 3, "content": "<|end|>", "special": true, "normalized": false},
        {"id": 4, "content": "word", "special": false, "normalized": false}],
      "normalizer": null, "pre_tokenizer": null, "post_processor": null,
      "decoder": {"type": "Fuse"},
      "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2},
                "merges": ["a b"]}})");
    json[nlohmann::json::json_pointer(pointer)] = value;
    Write("tokenizer.json", json.dump());
    return Load();
  }

  testing::TempDir dir_;
};

TEST_F(LoadTest, EmptyDirectoryNamesWhatWasLookedFor) {
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kNotFound,
                               AllOf(HasSubstr("tokenizer.json"),
                                     HasSubstr("tokenizer.model"),
                                     HasSubstr("merges.txt"))));
  EXPECT_THAT(Tokenizer::Load(absl::StrCat(dir_.path(), "/absent")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("absent")));
}

TEST_F(LoadTest, UnchangedTemplateLoads) {
  const auto tokenizer = LoadWith("/normalizer", nullptr);
  ASSERT_THAT(tokenizer, IsOk());
  EXPECT_THAT((*tokenizer)->Encode("abba", {}),
              IsOkAndHolds(ElementsAre(2, 1, 0)));
  EXPECT_EQ((*tokenizer)->vocab_size(), 5);
}

TEST_F(LoadTest, UnsupportedComponentsAreRefusedByName) {
  const auto typed = [](const char* type) {
    return nlohmann::json{{"type", type}};
  };
  const std::pair<const char*, const char*> cases[] = {
      {"/normalizer", "BertNormalizer"},
      {"/normalizer", "Precompiled"},
      {"/normalizer", "StripAccents"},
      {"/pre_tokenizer", "BertPreTokenizer"},
      {"/pre_tokenizer", "UnicodeScripts"},
      {"/post_processor", "Novel"},
      {"/decoder", "WordPiece"},
      {"/decoder", "CTC"},
  };
  for (const auto& [where, type] : cases) {
    EXPECT_THAT(
        LoadWith(where, typed(type)),
        StatusIs(kInvalid, AllOf(HasSubstr(type), HasSubstr("tokenizer.json"),
                                 HasSubstr(where + 1))));
  }
  EXPECT_THAT(LoadWith("/model/type", "WordPiece"),
              StatusIs(kInvalid, HasSubstr("WordPiece")));
  EXPECT_THAT(LoadWith("/model/dropout", 0.1),
              StatusIs(kInvalid, HasSubstr("dropout")));
  EXPECT_THAT(
      LoadWith("/pre_tokenizer",
               {{"type", "Sequence"},
                {"pretokenizers", {typed("Whitespace"), typed("Novel")}}}),
      StatusIs(kInvalid, AllOf(HasSubstr("pre_tokenizer.pretokenizers[1]"),
                               HasSubstr("Novel"))));
  EXPECT_THAT(
      LoadWith("/decoder", {{"type", "Sequence"},
                            {"decoders", {typed("Fuse"), typed("ByteLevel")}}}),
      StatusIs(kInvalid, AllOf(HasSubstr("decoder.decoders[1]"),
                               HasSubstr("ByteLevel"))));
}

TEST_F(LoadTest, BrokenModelsNameTheEntry) {
  EXPECT_THAT(LoadWith("/model/merges", {"a c"}),
              StatusIs(kInvalid, AllOf(HasSubstr("model.merges[0]"),
                                       HasSubstr("not all three"))));
  EXPECT_THAT(LoadWith("/model/merges", {"a b", 7}),
              StatusIs(kInvalid, HasSubstr("model.merges[1]")));
  EXPECT_THAT(LoadWith("/model/merges", {"ab"}),
              StatusIs(kInvalid, HasSubstr("model.merges[0]")));
  EXPECT_THAT(LoadWith("/model/vocab/c", -1),
              StatusIs(kInvalid, HasSubstr("vocab")));
  EXPECT_THAT(LoadWith("/model/vocab/c", 1 << 24),
              StatusIs(kInvalid, HasSubstr("vocab")));
  EXPECT_THAT(LoadWith("/model/vocab/c", "x"),
              StatusIs(kInvalid, HasSubstr("vocab")));
  EXPECT_THAT(LoadWith("/model/vocab/c", 1),
              StatusIs(kInvalid, HasSubstr("both have the id 1")));
  EXPECT_THAT(LoadWith("/model/unk_token", "?"),
              StatusIs(kInvalid, HasSubstr("unk_token")));
}

TEST_F(LoadTest, BrokenAddedTokensNameTheEntry) {
  EXPECT_THAT(LoadWith("/added_tokens/0/id", -3),
              StatusIs(kInvalid, HasSubstr("added_tokens[0]")));
  EXPECT_THAT(LoadWith("/added_tokens/1/id", 3),
              StatusIs(kInvalid, HasSubstr("added_tokens[1]")));
  EXPECT_THAT(LoadWith("/added_tokens/0/content", ""),
              StatusIs(kInvalid, HasSubstr("added_tokens[0].content")));
  EXPECT_THAT(LoadWith("/added_tokens/0/content", "a"),
              StatusIs(kInvalid, HasSubstr("has the id 3 and the id 0")));
}

TEST_F(LoadTest, BrokenPostProcessorsAreRefused) {
  const nlohmann::json sequence = {{"Sequence", {{"id", "A"}}}};
  const nlohmann::json special = {{"SpecialToken", {{"id", "<s>"}}}};
  EXPECT_THAT(LoadWith("/post_processor", {{"type", "TemplateProcessing"},
                                           {"single", {special, sequence}}}),
              StatusIs(kInvalid, HasSubstr("special_tokens")));
  EXPECT_THAT(LoadWith("/post_processor",
                       {{"type", "TemplateProcessing"},
                        {"single", {special, sequence}},
                        {"special_tokens", {{"<s>", {{"ids", {99}}}}}}}),
              StatusIs(kInvalid, HasSubstr("99")));
  EXPECT_THAT(
      LoadWith("/post_processor",
               {{"type", "TemplateProcessing"},
                {"single", nlohmann::json::array({sequence, sequence})}}),
      StatusIs(kInvalid, HasSubstr("single[1]")));
}

TEST_F(LoadTest, BrokenJsonNamesTheFile) {
  for (const char* text : {"", "{", "[]", "null", "{\"model\": 3}",
                           "{\"version\": \"9\"}", "\xff"}) {
    Write("tokenizer.json", text);
    EXPECT_THAT(Load(), StatusIs(kInvalid, HasSubstr("tokenizer.json")))
        << text;
  }
  Write("tokenizer.json", std::string(100000, '['));
  EXPECT_THAT(Load(), StatusIs(kInvalid, HasSubstr("tokenizer.json")));
}

TEST_F(LoadTest, BosAndEosComeFromTheConfigOrTheMap) {
  Write("tokenizer_config.json",
        R"({"eos_token": {"content": "<|end|>", "lstrip": false}})");
  Write("special_tokens_map.json", R"({"bos_token": "a", "eos_token": "b"})");
  const auto tokenizer = LoadWith("/normalizer", nullptr);
  ASSERT_THAT(tokenizer, IsOk());
  EXPECT_EQ((*tokenizer)->eos_id(), 3);
  EXPECT_EQ((*tokenizer)->bos_id(), 0);
}

TEST_F(LoadTest, BrokenConfigNamesTheFile) {
  Write("tokenizer_config.json", "{\"add_bos_token\": 7}");
  EXPECT_THAT(LoadWith("/normalizer", nullptr),
              StatusIs(kInvalid, HasSubstr("add_bos_token")));
  Write("tokenizer_config.json", "nonsense");
  EXPECT_THAT(LoadWith("/normalizer", nullptr),
              StatusIs(kInvalid, HasSubstr("tokenizer_config.json")));
}

TEST_F(LoadTest, Gpt2FilesFollowTheTokenizerClass) {
  Write("vocab.json", R"({"a": 0, "b": 1, "ab": 2, "Ġ": 3, "<|end|>": 4})");
  Write("merges.txt", "#version: 0.2\na b\n");
  EXPECT_THAT(Load(), StatusIs(kInvalid, HasSubstr("tokenizer_class")));
  Write("tokenizer_config.json", R"({"tokenizer_class": "BartTokenizer"})");
  EXPECT_THAT(Load(), StatusIs(kInvalid, HasSubstr("BartTokenizer")));
  Write("tokenizer_config.json",
        R"({"tokenizer_class": "GPT2TokenizerFast", "eos_token": "<|end|>",
            "bos_token": "<|end|>", "add_bos_token": true})");
  const auto tokenizer = Load();
  ASSERT_THAT(tokenizer, IsOk());
  EXPECT_EQ((*tokenizer)->eos_id(), 4);
  EXPECT_THAT(
      (*tokenizer)->Encode("ab ab<|end|>", {.parse_special_tokens = true}),
      IsOkAndHolds(ElementsAre(4, 2, 3, 2, 4)));
  EXPECT_THAT((*tokenizer)->Decode({2, 3, 2, 4}, true),
              IsOkAndHolds(Eq("ab ab")));
}

TEST_F(LoadTest, MissingMergesNamesTheFile) {
  Write("vocab.json", R"({"a": 0})");
  Write("tokenizer_config.json", R"({"tokenizer_class": "GPT2Tokenizer"})");
  EXPECT_THAT(Load(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("merges.txt")));
}

TEST_F(LoadTest, TextOfSpecialTokensIsNotParsedUnlessAsked) {
  const auto tokenizer = LoadWith("/model/vocab", {{"a", 0},
                                                   {"b", 1},
                                                   {"ab", 2},
                                                   {"<", 5},
                                                   {"|", 6},
                                                   {"e", 7},
                                                   {"n", 8},
                                                   {"d", 9},
                                                   {">", 10}});
  ASSERT_THAT(tokenizer, IsOk());
  EXPECT_THAT((*tokenizer)->Encode("<|end|>word", {}),
              IsOkAndHolds(ElementsAre(5, 6, 7, 8, 9, 6, 10, 4)));
  EXPECT_THAT(
      (*tokenizer)->Encode("<|end|>word", {.parse_special_tokens = true}),
      IsOkAndHolds(ElementsAre(3, 4)));
}

// A special token that is also a word of the model could be reached by its
// merges or by ignore_merges; text must not reach it there either.
TEST_F(LoadTest, NoMergeMakesASpecialTokenOfText) {
  for (const bool ignore_merges : {false, true}) {
    nlohmann::json model = {{"type", "BPE"},
                            {"ignore_merges", ignore_merges},
                            {"vocab", {{"a", 0}, {"b", 1}, {"ab", 2}}},
                            {"merges", {"a b"}}};
    nlohmann::json json = {
        {"model", model},
        {"decoder", {{"type", "Fuse"}}},
        {"added_tokens", {{{"id", 2}, {"content", "ab"}, {"special", true}}}}};
    Write("tokenizer.json", json.dump());
    const auto tokenizer = Load();
    ASSERT_THAT(tokenizer, IsOk());
    EXPECT_THAT((*tokenizer)->Encode("ab", {}),
                IsOkAndHolds(ElementsAre(0, 1)));
    EXPECT_THAT((*tokenizer)->Encode("ab", {.parse_special_tokens = true}),
                IsOkAndHolds(ElementsAre(2)));
  }
}

TEST_F(LoadTest, BadTextAndIdsAreNamed) {
  const auto tokenizer = LoadWith("/normalizer", nullptr);
  ASSERT_THAT(tokenizer, IsOk());
  EXPECT_THAT((*tokenizer)->Encode("ab\xC3", {}),
              StatusIs(kInvalid, HasSubstr("byte 2")));
  EXPECT_THAT((*tokenizer)->Encode("\xED\xA0\x80", {}),
              StatusIs(kInvalid, HasSubstr("byte 0")));
  EXPECT_THAT((*tokenizer)->Decode({0, 5}, false),
              StatusIs(kInvalid, HasSubstr("ids[1] = 5")));
  EXPECT_THAT((*tokenizer)->Decode({-1}, false),
              StatusIs(kInvalid, HasSubstr("ids[0] = -1")));
}

TEST(HostileTextTest, FourMegabytesOfOneCharacterTakeSeconds) {
  for (const char* family : {"gpt2", "llama3", "llama2", "metaspace_always",
                             "sentencepiece_llama"}) {
    const auto tokenizer = LoadOrFail(GoldenPath(family));
    ASSERT_NE(tokenizer, nullptr);
    for (const char c : {'a', ' ', '.'}) {
      std::string text(4 << 20, c);
      text += "x";
      const auto start = std::chrono::steady_clock::now();
      const auto ids = tokenizer->Encode(text, {});
      ASSERT_THAT(ids, IsOk());
      // Quadratic work would take hours; a loaded machine takes a second.
      EXPECT_LT(std::chrono::steady_clock::now() - start,
                std::chrono::seconds(30));
    }
  }
}

TEST(HostileTextTest, MegabytesOfCombiningMarksAreSortedInTime) {
  const auto tokenizer = LoadOrFail(GoldenPath("qwen2"));
  ASSERT_NE(tokenizer, nullptr);
  std::string text;
  while (text.size() < (2 << 20)) text += "\u0301\u0323";
  EXPECT_THAT(tokenizer->Encode(text, {}), IsOk());
}

TEST(HostileTextTest, TextBeyondTheBoundIsRefused) {
  const auto tokenizer = LoadOrFail(GoldenPath("gpt2"));
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_THAT(tokenizer->Encode(std::string((64 << 20) + 1, 'a'), {}),
              StatusIs(kInvalid, HasSubstr("at most")));
}

// A regex that backtracks exponentially stops at its limit instead.
TEST(HostileTextTest, RegexWorkIsBounded) {
  testing::TempDir dir;
  nlohmann::json json = ReadJson(GoldenPath("llama3/tokenizer.json"));
  json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] =
      "(?:(?:a|a)(?:a|a))*[bc]";
  std::ofstream(dir.path() + "/tokenizer.json") << json.dump();
  const auto tokenizer = Tokenizer::Load(dir.path());
  ASSERT_THAT(tokenizer, IsOk());
  EXPECT_THAT((*tokenizer)->Encode(std::string(5000, 'a'), {}),
              StatusIs(kInvalid, HasSubstr("regex")));
}

TEST(ThreadsTest, OneTokenizerServesManyThreads) {
  const auto tokenizer = LoadOrFail(GoldenPath("llama3"));
  ASSERT_NE(tokenizer, nullptr);
  const std::string text = "simmering the broth, with 123 ladles.\n";
  const auto expected = tokenizer->Encode(text, {});
  ASSERT_THAT(expected, IsOk());
  std::vector<std::thread> threads;
  std::vector<int> failures(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        const auto ids = tokenizer->Encode(text, {});
        failures[t] += !ids.ok() || *ids != *expected ||
                       *tokenizer->Decode(*ids, true) != text;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(failures, ElementsAre(0, 0, 0, 0));
}

}  // namespace
}  // namespace stockpot
