// Public tokenizers, which the repository does not hold, against ids that the
// reference packages, llama.cpp and swift-transformers gave.

#include "tests/testing/material.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "formats/tokenizer/stream_decoder.h"
#include "formats/tokenizer/tokenizer.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"
#include "tests/tokenizer/golden_files.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::IsOkAndHolds;
using ::stockpot::testing::MaterialPath;
using ::stockpot::testing::StatusIs;
using ::testing::AllOf;
using ::testing::Eq;
using ::testing::HasSubstr;
using Ids = std::vector<int32_t>;

std::string ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class MaterialTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (MaterialPath("tokenizers").empty()) {
      GTEST_SKIP() << "no tokenizers under STOCKPOT_MATERIAL";
    }
  }

  // The tokenizer.model of a folder that also holds a tokenizer.json.
  std::unique_ptr<Tokenizer> LoadModelOnly(const std::string& folder) {
    for (const char* name : {"tokenizer.model", "tokenizer_config.json"}) {
      std::filesystem::copy(MaterialPath(folder + "/" + name),
                            dir_.path() + "/" + name);
    }
    return LoadOrFail(dir_.path());
  }

  void ExpectNaughtyStrings(const Tokenizer& tokenizer,
                            const std::vector<Ids>& expected) {
    const nlohmann::json texts = ReadJson(MaterialPath("prompts/blns.json"));
    ASSERT_EQ(texts.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      const std::string text = texts[i];
      ASSERT_THAT(tokenizer.Encode(text, {}), IsOkAndHolds(Eq(expected[i])))
          << texts[i].dump();
      StreamDecoder decoder(tokenizer, true);
      std::string streamed;
      for (const int32_t id : expected[i]) streamed += decoder.Push(id);
      streamed += decoder.Finish();
      EXPECT_THAT(tokenizer.Decode(expected[i], true),
                  IsOkAndHolds(Eq(streamed)));
    }
  }

  void ExpectLlamaCpp(const Tokenizer& tokenizer, const std::string& name) {
    const std::string base =
        MaterialPath("goldens/llama_cpp/ggml-vocab-" + name + ".gguf.inp");
    ASSERT_FALSE(base.empty());
    const std::vector<std::string> texts =
        absl::StrSplit(ReadText(base), "\n__ggml_vocab_test__\n");
    const std::vector<std::string> lines =
        absl::StrSplit(ReadText(base.substr(0, base.size() - 3) + "out"), '\n');
    ASSERT_GT(texts.size(), 30u);
    ASSERT_GE(lines.size(), texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      Ids expected;
      for (const auto& id : absl::StrSplit(lines[i], ' ', absl::SkipEmpty())) {
        expected.push_back(0);
        ASSERT_TRUE(absl::SimpleAtoi(id, &expected.back()));
      }
      EXPECT_THAT(tokenizer.Encode(texts[i], {.add_special_tokens = false}),
                  IsOkAndHolds(Eq(expected)))
          << nlohmann::json(texts[i]).dump();
    }
  }

  nlohmann::json golden_ = ReadJson(GoldenPath("material.json"));
  testing::TempDir dir_;
};

TEST_F(MaterialTest, Gpt2EncodesTheNaughtyStrings) {
  const auto tokenizer = LoadOrFail(MaterialPath("tokenizers/gpt2"));
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->vocab_size(), 50257);
  EXPECT_EQ(tokenizer->eos_id(), 50256);
  ExpectNaughtyStrings(*tokenizer, golden_["gpt2"]);
  ExpectLlamaCpp(*tokenizer, "gpt-2");
}

TEST_F(MaterialTest, Qwen2FilesEncodeTheNaughtyStrings) {
  const auto tokenizer = LoadOrFail(MaterialPath("tokenizers/qwen2"));
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->eos_id(), 151645);
  EXPECT_TRUE(tokenizer->IsSpecial(151644));
  ExpectNaughtyStrings(*tokenizer, golden_["qwen2"]);
  ExpectLlamaCpp(*tokenizer, "qwen2");
}

TEST_F(MaterialTest, Llama2JsonEncodesTheNaughtyStrings) {
  const auto tokenizer = LoadOrFail(MaterialPath("tokenizers/llama2"));
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->bos_id(), 1);
  EXPECT_EQ(tokenizer->eos_id(), 2);
  ExpectNaughtyStrings(*tokenizer, golden_["llama2"]);
}

TEST_F(MaterialTest, Llama2ModelEncodesTheNaughtyStrings) {
  const auto tokenizer = LoadModelOnly("tokenizers/llama2");
  ASSERT_NE(tokenizer, nullptr);
  std::vector<Ids> expected = golden_["llama2"];
  for (const auto& [index, ids] : golden_["llama2_model"].items()) {
    expected[std::stoul(index)] = ids.get<Ids>();
  }
  ExpectNaughtyStrings(*tokenizer, expected);
  ExpectLlamaCpp(*tokenizer, "llama-spm");
}

TEST_F(MaterialTest, SwiftTransformersAgrees) {
  for (const auto& [folder, file] : std::map<std::string, std::string>{
           {"tokenizers/gpt2", "gpt2_encoded_tokens.json"},
           {"tokenizers/llama2", "llama_encoded.json"}}) {
    const auto tokenizer = LoadOrFail(MaterialPath(folder));
    ASSERT_NE(tokenizer, nullptr);
    const nlohmann::json golden =
        ReadJson(MaterialPath("goldens/swift_transformers/" + file));
    const std::string text = golden["text"];
    const Ids ids = golden["token_ids"];
    EXPECT_THAT(tokenizer->Encode(text, {}), IsOkAndHolds(Eq(ids)));
    EXPECT_THAT(tokenizer->Decode(ids, true), IsOkAndHolds(Eq(text)));
  }
}

TEST_F(MaterialTest, UnigramModelIsRefusedByName) {
  EXPECT_THAT(Tokenizer::Load(MaterialPath("tokenizers/t5-small")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("Unigram"), HasSubstr("tokenizer.json"),
                             HasSubstr("model.type"))));
}

}  // namespace
}  // namespace stockpot
