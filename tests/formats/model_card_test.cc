#include "formats/model_card.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "formats/training_facts.h"

namespace stockpot {
namespace {

using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

TEST(ModelCardTest, LicenseIsReadFromTheFrontMatter) {
  EXPECT_EQ(LicenseOfCard("---\nlicense: apache-2.0\n---\n# Card"),
            "apache-2.0");
  EXPECT_EQ(LicenseOfCard("---\r\ntags:\r\n- lora\r\nlicense:  mit \r\n---"),
            "mit");
  EXPECT_EQ(LicenseOfCard("---\nlicense: \"cc-by-4.0\" # ours\n---\n"),
            "cc-by-4.0");
  EXPECT_EQ(LicenseOfCard("---\nlicense: 'MIT OR Apache-2.0'\n---\n"),
            "MIT OR Apache-2.0");
  EXPECT_EQ(LicenseOfCard("---\nlicense: mit # a comment\n---\n"), "mit");
  EXPECT_EQ(LicenseOfCard("---\nlicense: other\nlicense_name: x\n---\n"),
            "other");
}

TEST(ModelCardTest, OtherCardsHaveNone) {
  for (const std::string& card :
       {std::string(), std::string("license: mit"),
        std::string("# Card\n---\nlicense: mit\n---\n"),
        std::string("---\ntags: x\n---\nlicense: mit\n"),
        std::string("---\nmodel:\n  license: mit\n---\n"),
        std::string("---\nlicense:\n- mit\n---\n"),
        std::string("---\nlicense: [mit]\n---\n"),
        std::string("---\nlicense: \"mit\n---\n"),
        std::string("---\nlicense: m\x01t\n---\n"),
        // No comment without a space before it: the value is all of this.
        std::string("---\nlicense: mit#2\n---\n"),
        "---\nlicense: " + std::string(129, 'a') + "\n---\n",
        std::string("---\nlicense_name: mit\n---\n"), std::string("---")}) {
    EXPECT_EQ(LicenseOfCard(card), "") << card;
  }
}

TEST(TrainingFactsTest, ScalarsOfKnownKeysAreKept) {
  EXPECT_THAT(
      TrainingFacts(R"({"peft_type": "LORA", "r": 8, "lora_alpha": 16.0,
        "lora_dropout": 0.05, "use_rslora": true, "init_lora_weights": "pissa",
        "bias": "none", "task_type": "CAUSAL_LM", "peft_version": "0.21.2",
        "revision": null, "target_modules": ["q_proj"], "rank_pattern": {},
        "inference_mode": true, "made_up_key": 3,
        "base_model_name_or_path": "org/base"})"),
      UnorderedElementsAre(
          Pair("r", "8"), Pair("lora_alpha", "16.0"),
          Pair("lora_dropout", "0.05"), Pair("use_rslora", "true"),
          Pair("init_lora_weights", "pissa"), Pair("bias", "none"),
          Pair("task_type", "CAUSAL_LM"), Pair("peft_version", "0.21.2"),
          Pair("base_model_name_or_path", "org/base")));
}

TEST(TrainingFactsTest, LongValuesAndOtherTextsAreLeftOut) {
  EXPECT_THAT(
      TrainingFacts("{\"revision\": \"" + std::string(257, 'x') + "\"}"),
      IsEmpty());
  for (const char* text : {"", "[]", "{", "3"}) {
    EXPECT_THAT(TrainingFacts(text), IsEmpty());
  }
}

}  // namespace
}  // namespace stockpot
