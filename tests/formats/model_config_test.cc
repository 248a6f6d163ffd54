#include "formats/model_config.h"

#include <string>

#include "gmock/gmock.h"
#include "nlohmann/json.hpp"

#include "tests/formats/fixtures.h"
#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::nlohmann::json;
using ::stockpot::testing::FreshDir;
using ::stockpot::testing::IsOk;
using ::stockpot::testing::MaterialDir;
using ::stockpot::testing::StatusIs;
using ::stockpot::testing::WriteAll;
using ::testing::_;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;

json Llama() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"vocab_size", 512},
          {"hidden_size", 64},
          {"intermediate_size", 172},
          {"num_hidden_layers", 5},
          {"num_attention_heads", 8},
          {"max_position_embeddings", 256}};
}

json Gpt2() {
  return {{"architectures", {"GPT2LMHeadModel"}},
          {"model_type", "gpt2"},
          {"vocab_size", 1000},
          {"n_embd", 32},
          {"n_layer", 5},
          {"n_head", 4},
          {"n_inner", nullptr},
          {"n_positions", 512}};
}

json With(json base, const json& changes) {
  base.update(changes);
  return base;
}

absl::StatusOr<ModelConfig> Parse(const json& config, const char* gen = "") {
  return ModelConfig::Parse(config.dump(), gen);
}

TEST(ModelConfigTest, LlamaDefaultsAreThoseOfTransformers) {
  const auto config = Parse(Llama());
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->architecture, Architecture::kLlama);
  EXPECT_EQ(config->num_kv_heads, 8);
  EXPECT_EQ(config->head_dim, 8);
  EXPECT_EQ(config->max_positions, 256);
  EXPECT_EQ(config->norm_eps, 1e-6);
  EXPECT_FALSE(config->tie_embeddings);
  EXPECT_FALSE(config->attention_bias);
  EXPECT_EQ(config->activation, Activation::kSilu);
  EXPECT_EQ(config->rope_theta, 10000.0);
  EXPECT_EQ(config->rope_scaling.kind, RopeScaling::Kind::kNone);
  EXPECT_EQ(config->bos_token_id, std::nullopt);
  EXPECT_THAT(config->eos_token_ids, IsEmpty());
}

TEST(ModelConfigTest, Gpt2DefaultsAreThoseOfTransformers) {
  const auto config = Parse(Gpt2());
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->architecture, Architecture::kGpt2);
  EXPECT_EQ(config->hidden_size, 32);
  EXPECT_EQ(config->intermediate_size, 128);
  EXPECT_EQ(config->num_kv_heads, 4);
  EXPECT_EQ(config->head_dim, 8);
  EXPECT_EQ(config->norm_eps, 1e-5);
  EXPECT_TRUE(config->tie_embeddings);
  EXPECT_EQ(config->activation, Activation::kGeluTanh);
  EXPECT_EQ(Parse(With(Gpt2(), {{"activation_function", "gelu"}}))->activation,
            Activation::kGeluErf);
  EXPECT_EQ(Parse(With(Gpt2(), {{"n_inner", 77}}))->intermediate_size, 77);
}

TEST(ModelConfigTest, OldAndNewRopeKeysSayTheSame) {
  const json llama3 = {{"rope_type", "llama3"},
                       {"factor", 32.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 8192}};
  const auto old_keys = Parse(With(Llama(), {{"rope_theta", 500000.0},
                                             {"rope_scaling", llama3},
                                             {"torch_dtype", "bfloat16"}}));
  const auto new_keys = Parse(With(
      Llama(), {{"rope_parameters", With(llama3, {{"rope_theta", 500000}})},
                {"dtype", "bfloat16"}}));
  for (const auto* config : {&old_keys, &new_keys}) {
    ASSERT_THAT(*config, IsOk());
    EXPECT_EQ((*config)->rope_theta, 500000.0);
    EXPECT_EQ((*config)->rope_scaling.kind, RopeScaling::Kind::kLlama3);
    EXPECT_EQ((*config)->rope_scaling.factor, 32.0);
    EXPECT_EQ((*config)->rope_scaling.original_max_positions, 8192);
    EXPECT_EQ((*config)->torch_dtype, "bfloat16");
  }
  const auto linear = Parse(
      With(Llama(), {{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}}));
  ASSERT_THAT(linear, IsOk());
  EXPECT_EQ(linear->rope_scaling.kind, RopeScaling::Kind::kLinear);
  const auto plain = Parse(With(
      Llama(),
      {{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 5e5}}}}));
  ASSERT_THAT(plain, IsOk());
  EXPECT_EQ(plain->rope_theta, 5e5);
  EXPECT_EQ(plain->rope_scaling.kind, RopeScaling::Kind::kNone);
}

TEST(ModelConfigTest, UnsupportedSettingsAreRefusedByName) {
  struct Case {
    json config;
    std::string field;
    std::string value;
  };
  const Case cases[] = {
      {With(Llama(), {{"architectures", {"MistralForCausalLM"}}}),
       "architectures", "Mistral"},
      {With(Llama(), {{"quantization_config", {{"bits", 4}}}}),
       "quantization_config", "quantised"},
      {With(Llama(), {{"rope_scaling", {{"rope_type", "yarn"}}}}),
       "rope_scaling.rope_type", "yarn"},
      {With(Llama(), {{"rope_parameters", {{"rope_type", "dynamic"}}}}),
       "rope_parameters.rope_type", "dynamic"},
      {With(Llama(), {{"rope_parameters", {{"partial_rotary_factor", 0.5}}}}),
       "partial_rotary_factor", "0.5"},
      {With(Llama(), {{"pretraining_tp", 2}}), "pretraining_tp", "2"},
      {With(Llama(), {{"hidden_act", "gelu"}}), "hidden_act", "gelu"},
      {With(Gpt2(), {{"scale_attn_weights", false}}), "scale_attn_weights",
       "false"},
      {With(Gpt2(), {{"scale_attn_by_inverse_layer_idx", true}}),
       "scale_attn_by_inverse_layer_idx", "true"},
      {With(Gpt2(), {{"reorder_and_upcast_attn", true}}),
       "reorder_and_upcast_attn", "true"},
      {With(Gpt2(), {{"add_cross_attention", true}}), "add_cross_attention",
       "true"},
      {With(Gpt2(), {{"activation_function", "mish"}}), "activation_function",
       "mish"},
  };
  for (const Case& c : cases) {
    EXPECT_THAT(
        Parse(c.config),
        StatusIs(kUnimplemented, AllOf(HasSubstr(c.field), HasSubstr(c.value))))
        << c.field;
  }
  EXPECT_THAT(Parse(cases[0].config),
              StatusIs(kUnimplemented, HasSubstr("LlamaForCausalLM and GPT2")));
}

TEST(ModelConfigTest, NumbersAreBounded) {
  const json changes[] = {
      {{"hidden_size", 0}},
      {{"hidden_size", 65537}},
      {{"hidden_size", -64}},
      {{"hidden_size", 63}},
      {{"hidden_size", "64"}},
      {{"num_hidden_layers", 1025}},
      {{"vocab_size", (1 << 20) + 1}},
      {{"num_key_value_heads", 3}},
      {{"num_key_value_heads", 16}},
      {{"head_dim", 7}},
      {{"head_dim", 2048}},
      {{"max_position_embeddings", 0}},
      {{"rms_norm_eps", -1}},
      {{"rope_theta", 0}},
      {{"rope_scaling", {{"type", "linear"}, {"factor", 0}}}},
      {{"rope_scaling", {{"type", "linear"}}}},
      {{"rope_scaling",
        {{"rope_type", "llama3"},
         {"factor", 8},
         {"low_freq_factor", 4},
         {"high_freq_factor", 4},
         {"original_max_position_embeddings", 8192}}}},
      {{"eos_token_id", "x"}},
      {{"architectures", json::array()}},
      {{"tie_word_embeddings", 1}},
  };
  for (const json& change : changes) {
    EXPECT_THAT(Parse(With(Llama(), change)),
                StatusIs(kInvalid, HasSubstr("config.json: ")))
        << change;
  }
  EXPECT_THAT(Parse(With(Gpt2(), {{"n_embd", 33}})), StatusIs(kInvalid, _));
  EXPECT_THAT(ModelConfig::Parse("{", ""), StatusIs(kInvalid, _));
  EXPECT_THAT(ModelConfig::Parse("[]", ""), StatusIs(kInvalid, _));
  EXPECT_THAT(
      Parse(With(Llama(), {{"num_key_value_heads", 2}, {"head_dim", 16}})),
      IsOk());
}

TEST(ModelConfigTest, GenerationConfigWinsForTheEndsAndGivesSampling) {
  const json base = With(Llama(), {{"bos_token_id", 1}, {"eos_token_id", 2}});
  const auto alone = Parse(base);
  EXPECT_THAT(alone->eos_token_ids, ElementsAre(2));
  EXPECT_EQ(alone->bos_token_id, 1);
  EXPECT_EQ(alone->sampling.temperature, std::nullopt);

  const auto both =
      Parse(base, R"({"eos_token_id": [3, 4, 3, 99999], "do_sample": true,
                "temperature": 0.6, "top_p": 0.9, "top_k": 50,
                "repetition_penalty": 1.1})");
  ASSERT_THAT(both, IsOk());
  // 99999 is beyond the vocabulary and can never come.
  EXPECT_THAT(both->eos_token_ids, ElementsAre(3, 4));
  EXPECT_EQ(both->bos_token_id, 1);
  EXPECT_EQ(both->sampling.do_sample, true);
  EXPECT_EQ(both->sampling.temperature, 0.6);
  EXPECT_EQ(both->sampling.top_p, 0.9);
  EXPECT_EQ(both->sampling.top_k, 50);
  EXPECT_EQ(both->sampling.repetition_penalty, 1.1);

  EXPECT_THAT(Parse(base, R"({"top_p": 2})"),
              StatusIs(kInvalid, HasSubstr("generation_config.json: ")));
}

TEST(ModelConfigTest, LoadNeedsConfigOnly) {
  const auto dir = FreshDir();
  EXPECT_THAT(ModelConfig::Load(dir),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("config.json")));
  WriteAll(dir / "config.json", Llama().dump());
  EXPECT_THAT(ModelConfig::Load(dir), IsOk());
  WriteAll(dir / "generation_config.json", R"({"top_k": 7})");
  EXPECT_EQ(ModelConfig::Load(dir)->sampling.top_k, 7);
}

TEST(ModelConfigTest, ReadsRealConfigs) {
  const auto dir = MaterialDir() / "weights";
  STOCKPOT_SKIP_WITHOUT(dir);
  const auto llama = ModelConfig::Load(dir / "stories260K");
  ASSERT_THAT(llama, IsOk());
  EXPECT_EQ(llama->num_kv_heads, 4);
  EXPECT_TRUE(llama->tie_embeddings);
  EXPECT_THAT(llama->eos_token_ids, ElementsAre(2));
  EXPECT_THAT(ModelConfig::Load(dir / "tiny-random-gpt2"), IsOk());
  EXPECT_THAT(ModelConfig::Load(dir / "t5x-tiny"),
              StatusIs(kUnimplemented, HasSubstr("T5ForConditional")));
}

}  // namespace
}  // namespace stockpot
