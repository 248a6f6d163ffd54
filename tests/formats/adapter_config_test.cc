#include "formats/adapter_config.h"

#include <filesystem>
#include <string>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"

#include "formats/json.h"
#include "tests/formats/fixtures.h"
#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::nlohmann::ordered_json;
using ::stockpot::testing::IsOk;
using ::stockpot::testing::IsOkAndHolds;
using ::stockpot::testing::MaterialDir;
using ::stockpot::testing::ReadAll;
using ::stockpot::testing::StatusIs;
using ::testing::_;
using ::testing::AllOf;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;

constexpr char kPath[] = "model.layers.0.self_attn.q_proj";

// A minimal config with `changes` over it.
absl::StatusOr<AdapterConfig> Parse(const ordered_json& changes) {
  ordered_json config = {{"peft_type", "LORA"},
                         {"r", 8},
                         {"lora_alpha", 16},
                         {"target_modules", {"q_proj", "v_proj"}}};
  config.update(changes);
  return AdapterConfig::Parse(config.dump());
}

TEST(AdapterConfigTest, ReadsTheFields) {
  const auto config = Parse({{"lora_alpha", 4.5},
                             {"base_model_name_or_path", "gpt2"},
                             {"task_type", "CAUSAL_LM"},
                             {"fan_in_fan_out", true},
                             {"revision", nullptr},
                             {"new_in_peft_99", 1}});
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->r(), 8);
  EXPECT_EQ(config->lora_alpha(), 4.5);
  EXPECT_FALSE(config->use_rslora());
  EXPECT_TRUE(config->fan_in_fan_out());
  EXPECT_EQ(config->base_model_name_or_path(), "gpt2");
  EXPECT_EQ(config->task_type(), "CAUSAL_LM");
  EXPECT_THAT(config->target_modules(), ElementsAre("q_proj", "v_proj"));
  EXPECT_THAT(config->unknown_keys(), ElementsAre("new_in_peft_99"));
}

TEST(AdapterConfigTest, TargetsAndScalesAsPeftDoes) {
  const auto golden =
      ParseOrderedJson(ReadAll(std::filesystem::path(STOCKPOT_SOURCE_DIR) /
                               "tests/formats/peft_golden.json"),
                       {});
  ASSERT_THAT(golden, IsOk());
  ASSERT_GT((*golden)["cases"].size(), 20);
  for (const auto& item : (*golden)["cases"]) {
    const auto config = AdapterConfig::Parse(item["config"].dump());
    ASSERT_THAT(config, IsOk()) << item["config"];
    for (const auto& module : item["modules"]) {
      const std::string path = module["path"];
      EXPECT_THAT(config->Targets(path, /*is_end=*/false),
                  IsOkAndHolds(module["targets"].get<bool>()))
          << path << " " << item["config"];
      EXPECT_THAT(config->Rank(path),
                  IsOkAndHolds(module["rank"].get<int64_t>()))
          << path << " " << item["config"];
      EXPECT_THAT(
          config->Scaling(path, module["rank"].get<int64_t>()),
          IsOkAndHolds(DoubleNear(module["scaling"].get<double>(), 1e-15)))
          << path << " " << item["config"];
    }
  }
}

TEST(AdapterConfigTest, AllLinearLeavesOutTheHead) {
  for (const char* spelling : {"all-linear", "All-Linear"}) {
    const auto config = Parse(
        {{"target_modules", spelling}, {"exclude_modules", {"down_proj"}}});
    ASSERT_THAT(config, IsOk());
    EXPECT_THAT(config->Targets(kPath, false), IsOkAndHolds(true));
    EXPECT_THAT(config->Targets("lm_head", true), IsOkAndHolds(false));
    EXPECT_THAT(config->Targets("model.layers.0.mlp.down_proj", false),
                IsOkAndHolds(false));
  }
}

TEST(AdapterConfigTest, RankOfTheTensorsMustBeTheConfigs) {
  const auto config = Parse({{"rank_pattern", {{"v_proj", 4}}}});
  ASSERT_THAT(config, IsOk());
  EXPECT_THAT(config->Scaling(kPath, 8), IsOkAndHolds(2.0));
  EXPECT_THAT(config->Scaling(kPath, 4),
              StatusIs(kInvalid, AllOf(HasSubstr(kPath), HasSubstr("rank 4"),
                                       HasSubstr("says 8"))));
  EXPECT_THAT(config->Scaling("model.layers.0.self_attn.v_proj", 4),
              IsOkAndHolds(4.0));
}

TEST(AdapterConfigTest, HugeScalingIsRefused) {
  const auto config = Parse({{"r", 1}, {"lora_alpha", 10001}});
  ASSERT_THAT(config, IsOk());
  EXPECT_THAT(config->Scaling(kPath, 1),
              StatusIs(kInvalid, HasSubstr("at most 10000")));
}

TEST(AdapterConfigTest, WhatIsNotBuiltIsRefusedByName) {
  const ordered_json changes[] = {
      {{"peft_type", "OFT"}},
      {{"peft_type", "XLORA"}},
      {{"peft_type", "PREFIX_TUNING"}},
      {{"peft_type", "VBLORA"}},
      {{"peft_type", "invented"}},
      {{"bias", "all"}},
      {{"bias", "lora_only"}},
      {{"modules_to_save", {"lm_head", "model.norm"}}},
      {{"modules_to_save", {"classifier"}}},
      {{"target_parameters", {"experts.gate"}}},
      {{"layer_replication", {{0, 4}, {2, 5}}}},
      {{"alora_invocation_tokens", {1}}},
      {{"use_qalora", true}},
      {{"arrow_config", {{"top_k", 3}}}},
      {{"kasa_config", {{"beta", 1}}}},
      {{"use_bdlora", {{"nblocks", 2}}}},
      {{"monteclora_config", {{"num_samples", 2}}}},
      {{"enable_lora", {true, false, true}}},
      {{"init_lora_weights", "pissa"}},
      {{"init_lora_weights", "pissa_niter_16"}},
      {{"init_lora_weights", "OLoRA"}},
      {{"init_lora_weights", "corda"}},
      {{"init_lora_weights", "loftq"}},
      {{"init_lora_weights", "lora_ga"}},
      {{"init_lora_weights", "invented"}},
  };
  for (const ordered_json& change : changes) {
    EXPECT_THAT(Parse(change),
                StatusIs(kUnimplemented,
                         HasSubstr("field \"" + change.begin().key() + "\"")))
        << change;
  }
}

TEST(AdapterConfigTest, ReadsWhatReplacesRowsOfTheEnds) {
  const auto config = Parse({{"modules_to_save", {"embed_tokens", "lm_head"}},
                             {"trainable_token_indices", {7, 3}},
                             {"ensure_weight_tying", true}});
  ASSERT_THAT(config, IsOk());
  const EndOptions& ends = config->end_options();
  EXPECT_THAT(ends.modules_to_save, ElementsAre("embed_tokens", "lm_head"));
  ASSERT_EQ(ends.trained_tokens.size(), 1);
  EXPECT_EQ(ends.trained_tokens[0].module, "");
  EXPECT_THAT(ends.trained_tokens[0].tokens, ElementsAre(7, 3));
  EXPECT_TRUE(ends.ensure_weight_tying);
  const auto by_module =
      Parse({{"trainable_token_indices", {{"wte", {1}}, {"lm_head", {2, 0}}}}});
  ASSERT_THAT(by_module, IsOk());
  ASSERT_EQ(by_module->end_options().trained_tokens.size(), 2);
  EXPECT_EQ(by_module->end_options().trained_tokens[1].module, "lm_head");
}

TEST(AdapterConfigTest, WrongTokensAreRefusedByName) {
  const ordered_json wrong[] = {{-1},
                                {1.5},
                                {"a"},
                                {int64_t{1} << 31},
                                {4, 4},
                                {{"q_proj", {1}}},
                                {{"lm_head", 3}},
                                {{"lm_head", ordered_json::array()}},
                                "all"};
  for (const ordered_json& value : wrong) {
    EXPECT_THAT(
        Parse({{"trainable_token_indices", value}}),
        StatusIs(kInvalid, HasSubstr("field \"trainable_token_indices\"")))
        << value;
  }
  EXPECT_THAT(Parse({{"modules_to_save", "lm_head"}}),
              StatusIs(kInvalid, HasSubstr("\"modules_to_save\"")));
}

TEST(AdapterConfigTest, SettingsWithoutEffectOnTheResultAreAccepted) {
  const ordered_json changes[] = {
      {{"init_lora_weights", true}},
      {{"init_lora_weights", false}},
      {{"init_lora_weights", "gaussian"}},
      {{"init_lora_weights", "eva"}},
      {{"init_lora_weights", "orthogonal"}},
      {{"modules_to_save", nullptr}},
      {{"modules_to_save", ordered_json::array()}},
      {{"loftq_config", ordered_json::object()}},
      {{"megatron_core", "megatron.core"}},
      {{"megatron_config", nullptr}},
      {{"lora_dropout", 0.3}},
      {{"qalora_group_size", 16}},
      {{"velora_config", {{"num_groups", 32}}}},
      {{"rank_pattern", nullptr}},
  };
  for (const ordered_json& change : changes) {
    const auto config = Parse(change);
    ASSERT_THAT(config, IsOk()) << change;
    EXPECT_THAT(config->unknown_keys(), IsEmpty()) << change;
  }
}

TEST(AdapterConfigTest, BadValuesAreRefusedByName) {
  const ordered_json changes[] = {
      {{"r", 0}},
      {{"r", 513}},
      {{"r", 8.0}},
      {{"r", nullptr}},
      {{"lora_alpha", "16"}},
      {{"lora_alpha", nullptr}},
      {{"lora_alpha", 1e30}},
      {{"use_rslora", "yes"}},
      {{"peft_type", 3}},
      {{"target_modules", nullptr}},
      {{"target_modules", ordered_json::array()}},
      {{"target_modules", {1}}},
      {{"target_modules", {""}}},
      {{"target_modules", {{"q", 1}}}},
      {{"target_modules", "("}},
      {{"target_modules", std::string(70000, 'a')}},
      {{"exclude_modules", "[z-a]"}},
      {{"rank_pattern", {{"q_proj", 0}}}},
      {{"rank_pattern", {{"q_proj", 600}}}},
      {{"rank_pattern", {{"q_proj", 4.0}}}},
      {{"rank_pattern", {{"(", 4}}}},
      {{"rank_pattern", {1}}},
      {{"alpha_pattern", {{"q_proj", "4"}}}},
      {{"alpha_pattern", {{"q_proj", 1e30}}}},
      {{"layers_to_transform", -1}},
      {{"layers_to_transform", {1.5}}},
      {{"layers_to_transform", "1"}},
      {{"layers_pattern", 1}},
      {{"layers_pattern", "("}},
  };
  for (const ordered_json& change : changes) {
    EXPECT_THAT(
        Parse(change),
        StatusIs(kInvalid, HasSubstr("\"" + change.begin().key() + "\"")))
        << change.begin().key();
  }
  EXPECT_THAT(
      Parse({{"target_modules", ".*q_proj"}, {"layers_to_transform", {1}}}),
      StatusIs(kInvalid, HasSubstr("layers_to_transform")));
}

TEST(AdapterConfigTest, FileIsBoundedAndStrict) {
  EXPECT_THAT(AdapterConfig::Parse(std::string(300 << 10, ' ')),
              StatusIs(kInvalid, HasSubstr("at most")));
  EXPECT_THAT(AdapterConfig::Parse(R"({"peft_type":"LORA","r":8,"r":9})"),
              StatusIs(kInvalid, HasSubstr("\"r\"")));
  EXPECT_THAT(AdapterConfig::Parse("[]"), StatusIs(kInvalid, _));
  EXPECT_THAT(AdapterConfig::Parse(""), StatusIs(kInvalid, _));
}

TEST(AdapterConfigTest, ExplosiveRegexEndsWithAnErrorSoon) {
  const auto config = Parse({{"target_modules", "(a+)+$"}});
  ASSERT_THAT(config, IsOk());
  const absl::Time start = absl::Now();
  EXPECT_THAT(config->Targets(std::string(60, 'a') + "b", false),
              StatusIs(kInvalid, HasSubstr("match limit")));
  EXPECT_LT(absl::Now() - start, absl::Seconds(2));
}

TEST(AdapterConfigTest, OnlyFewKeysMayBeRegexes) {
  ordered_json pattern = ordered_json::object();
  for (int i = 0; i < 65; ++i) {
    pattern["model\\.layers\\." + std::to_string(i)] = 4;
  }
  EXPECT_THAT(Parse({{"rank_pattern", pattern}}),
              StatusIs(kInvalid, HasSubstr("more than 64")));
  ordered_json plain = ordered_json::object();
  for (int i = 0; i < 2000; ++i) {
    plain["model.layers." + std::to_string(i) + ".self_attn.q_proj"] = 4;
  }
  const auto config = Parse({{"rank_pattern", plain}});
  ASSERT_THAT(config, IsOk());
  EXPECT_THAT(config->Rank("model.layers.1999.self_attn.q_proj"),
              IsOkAndHolds(4));
}

TEST(AdapterConfigTest, JudgesRealConfigs) {
  const auto dir = MaterialDir() / "adapter_configs";
  STOCKPOT_SKIP_WITHOUT(dir);
  struct Case {
    const char* file;
    absl::StatusCode code;
    const char* message;
  };
  const auto kOk = absl::StatusCode::kOk;
  const Case cases[] = {
      {"saved/MLX_not_peft.json", kInvalid, "MLX"},
      {"saved/not_peft.json", kInvalid, "\"peft_type\" is missing"},
      {"saved/bert_modules_to_save.json", kUnimplemented, "modules_to_save"},
      {"saved/qwen05b_modules_to_save_dup.json", kUnimplemented,
       "modules_to_save"},
      {"saved/duplicate_target_modules.json", kOk, ""},
      {"saved/gemma3_270m.json", kOk, ""},
      {"saved/gemma4_exclude_modules_regex.json", kOk, ""},
      {"saved/glm4_fused_qkv.json", kOk, ""},
      {"saved/gpt2.json", kOk, ""},
      {"saved/llama2_peft02_enable_lora.json", kOk, ""},
      {"saved/llama32_1b.json", kOk, ""},
      {"saved/phi1_5_old_peft.json", kOk, ""},
      {"saved/qwen25vl_115_targets.json", kOk, ""},
      {"saved/qwen3_06b.json", kOk, ""},
      {"saved/t5small.json", kOk, ""},
      // Inputs of training: PEFT writes the modules when it saves.
      {"peft_inputs/MetaMathQA__adalora__llama-3.2-3B-rank32.json", kInvalid,
       "target_modules"},
      {"peft_inputs/MetaMathQA__vblora__llama-3.2-3B-default.json",
       kUnimplemented, "VBLORA"},
      {"peft_inputs/MetaMathQA__lora__llama-3.2-3B-rank32-dora.json", kInvalid,
       "target_modules"},
      {"peft_inputs/MetaMathQA__lora__llama-3.2-3B-rank32-kasa.json",
       kUnimplemented, "kasa_config"},
      {"peft_inputs/MetaMathQA__lora__llama-3.2-3B-rank64-rslora.json",
       kInvalid, "target_modules"},
      {"peft_inputs/MetaMathQA__lora__llama-3.2-3B-rank10-target-mlp.json", kOk,
       ""},
  };
  for (const Case& c : cases) {
    const auto config = AdapterConfig::Parse(ReadAll(dir / c.file));
    EXPECT_THAT(config, StatusIs(c.code, HasSubstr(c.message))) << c.file;
    if (config.ok()) {
      EXPECT_THAT(config->unknown_keys(), IsEmpty()) << c.file;
    }
  }
  const auto gemma = AdapterConfig::Parse(
      ReadAll(dir / "saved/gemma4_exclude_modules_regex.json"));
  EXPECT_THAT(gemma->Targets("model.vision_tower.layers.0.q_proj", false),
              IsOkAndHolds(false));
  EXPECT_THAT(gemma->Targets("model.language_model.layers.0.q_proj", false),
              IsOkAndHolds(true));
}

}  // namespace
}  // namespace stockpot
