// Layouts of the kinds beside plain LoRA: what is taken, and what is refused
// and why.

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"

#include "formats/adapter_layout.h"
#include "tests/formats/fixtures.h"
#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::StatusIs;
using ::stockpot::testing::TestTensor;
using ::stockpot::testing::ZeroSafetensors;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;

const char kPath[] = "model.layers.0.self_attn.q_proj";

std::string Name(const std::string& part) {
  return absl::StrCat("base_model.model.", kPath, ".", part);
}

absl::StatusOr<AdapterLayout> Match(const std::string& config,
                                    const std::vector<TestTensor>& tensors,
                                    int64_t in = 6, int64_t out = 10,
                                    bool reads_alone = false) {
  auto parsed = AdapterConfig::Parse(
      absl::StrCat(R"({"target_modules":["q_proj"],)", config, "}"));
  if (!parsed.ok()) return parsed.status();
  const std::string file = ZeroSafetensors(tensors);
  const auto header =
      ParseSafetensorsHeader(file, file.size(), AdapterLimits());
  EXPECT_THAT(header, IsOk());
  const std::vector<BaseModule> base = {{kPath, in, out, false, reads_alone}};
  return MatchAdapter(*header, *parsed, base);
}

struct Good {
  std::string config;
  std::vector<TestTensor> tensors;
  int64_t rank = 0;
  double scale = 1;
};

std::vector<Good> GoodAdapters() {
  return {
      {R"("peft_type":"ADALORA","init_r":4,"lora_alpha":8)",
       {{Name("lora_A"), {3, 6}},
        {Name("lora_B"), {10, 3}},
        {Name("lora_E"), {3, 1}}},
       3,
       8 / (4 + 1e-5)},
      {R"("peft_type":"LOHA","r":2,"alpha":8)",
       {{Name("hada_w1_a"), {10, 2}},
        {Name("hada_w1_b"), {2, 6}},
        {Name("hada_w2_a"), {10, 2}},
        {Name("hada_w2_b"), {2, 6}}},
       4,
       4},
      {R"("peft_type":"LOKR","r":1,"alpha":8)",
       {{Name("lokr_w1"), {2, 3}},
        {Name("lokr_w2_a"), {5, 1}},
        {Name("lokr_w2_b"), {1, 2}}},
       2,
       8},
      {R"("peft_type":"VERA","r":3,"save_projection":true)",
       {{"base_model.vera_A", {3, 8}},
        {"base_model.vera_B", {10, 3}},
        {Name("vera_lambda_b"), {10}},
        {Name("vera_lambda_d"), {3}}},
       3,
       1},
      {R"("peft_type":"FOURIERFT","scaling":150.0,"random_loc_seed":777,
          "n_frequency":2)",
       {{Name("fourierft_spectrum"), {2}}},
       4,
       150},
      {R"("peft_type":"MISS","r":4,"init_weights":true)",
       {{Name("miss_block"), {4, 10}}},
       4,
       1},
      {R"("peft_type":"MISS","r":4,"init_weights":"mini","mini_r":5)",
       {{Name("miss_block"), {4, 5}}},
       4,
       1},
      {R"("peft_type":"IA3")", {{Name("ia3_l"), {10, 1}}}, 0, 1},
      {R"("peft_type":"LORA","r":2,"lora_alpha":4,"lora_bias":true)",
       {{Name("lora_A.weight"), {2, 6}},
        {Name("lora_B.weight"), {10, 2}},
        {Name("lora_B.bias"), {10}}},
       2,
       2},
      {R"("peft_type":"LORA","r":2,"lora_alpha":4,"use_dora":true)",
       {{Name("lora_A.weight"), {2, 6}},
        {Name("lora_B.weight"), {10, 2}},
        {Name("lora_magnitude_vector"), {10}}},
       2,
       2},
      {R"("peft_type":"LORA","r":2,"lora_alpha":4)",
       {{Name("lora_A.weight"), {2, 6}},
        {Name("lora_B.weight"), {10, 2}},
        {Name("lora_learnable_weights"), {1}}},
       2,
       2},
  };
}

TEST(AdapterKindsTest, TakesEveryKind) {
  for (const Good& good : GoodAdapters()) {
    const auto layout = Match(good.config, good.tensors);
    ASSERT_THAT(layout, IsOk()) << good.config;
    ASSERT_EQ(layout->modules.size(), 1) << good.config;
    EXPECT_EQ(layout->modules[0].rank, good.rank) << good.config;
    EXPECT_DOUBLE_EQ(layout->modules[0].scale, good.scale) << good.config;
    EXPECT_TRUE(layout->modules[0].is_exact) << good.config;
    EXPECT_THAT(layout->target_suffixes, ElementsAre("q_proj"));
    int64_t elements = 0;
    for (const TestTensor& tensor : good.tensors) {
      int64_t product = 1;
      for (const int64_t size : tensor.shape) product *= size;
      elements += product;
    }
    EXPECT_EQ(layout->num_parameters, elements) << good.config;
  }
}

TEST(AdapterKindsTest, EveryTensorIsNeededAndChecked) {
  for (const Good& good : GoodAdapters()) {
    for (size_t i = 0; i < good.tensors.size(); ++i) {
      std::vector<TestTensor> tensors = good.tensors;
      if (tensors[i].name != Name("lora_learnable_weights")) {
        tensors.erase(tensors.begin() + static_cast<int64_t>(i));
        EXPECT_THAT(Match(good.config, tensors),
                    StatusIs(kInvalid, ::testing::_))
            << good.config << " without " << good.tensors[i].name;
      }
      for (size_t axis = 0; axis < good.tensors[i].shape.size(); ++axis) {
        // FourierFT's length and VeRA's sizes beyond the layer are free.
        tensors = good.tensors;
        tensors[i].shape[axis] = 1000;
        const bool is_free =
            (tensors[i].name == "base_model.vera_A" && axis == 1) ||
            (tensors[i].name == "base_model.vera_B" && axis == 0);
        EXPECT_EQ(Match(good.config, tensors).ok(), is_free)
            << good.config << " " << good.tensors[i].name << " axis " << axis;
      }
      tensors = good.tensors;
      tensors[i].dtype = "I32";
      EXPECT_THAT(Match(good.config, tensors),
                  StatusIs(kInvalid, AllOf(HasSubstr(tensors[i].name),
                                           HasSubstr("dtype I32"))))
          << good.config;
      // The same tensor in the file of another kind.
      if (good.config.find("LORA\"") == std::string::npos) {
        EXPECT_THAT(
            Match(R"("peft_type":"LORA","r":2,"lora_alpha":4)",
                  {good.tensors.back()}),
            StatusIs(kInvalid, HasSubstr("adapter_config.json says LORA")));
      }
    }
  }
}

TEST(AdapterKindsTest, AdaLoraMayHavePrunedALayerAway) {
  const char config[] = R"("peft_type":"ADALORA","init_r":4,"lora_alpha":0)";
  const auto layout = Match(config, {{Name("lora_A"), {0, 6}},
                                     {Name("lora_B"), {10, 0}},
                                     {Name("lora_E"), {0, 1}}});
  ASSERT_THAT(layout, IsOk());
  EXPECT_EQ(layout->modules[0].rank, 0);
  // An alpha of zero stands for the rank.
  EXPECT_DOUBLE_EQ(layout->modules[0].scale, 4 / (4 + 1e-5));
  EXPECT_THAT(Match(config, {{Name("lora_A"), {5, 6}},
                             {Name("lora_B"), {10, 5}},
                             {Name("lora_E"), {5, 1}}}),
              StatusIs(kInvalid, HasSubstr("4 at most (\"init_r\")")));
}

TEST(AdapterKindsTest, WhatTheFileCannotSayIsRefusedByName) {
  const struct {
    const char* config;
    absl::StatusCode code;
    const char* message;
  } cases[] = {
      {R"("peft_type":"VERA","r":3,"save_projection":false)", kUnimplemented,
       "set save_projection=True"},
      {R"("peft_type":"MISS","r":3,"init_weights":"bat")", kUnimplemented,
       "depends on the base weights"},
      {R"("peft_type":"MISS","r":3,"init_weights":"x")", kInvalid,
       "init_weights"},
      {R"("peft_type":"FOURIERFT","random_loc_seed":1)", kInvalid, "scaling"},
      {R"("peft_type":"FOURIERFT","scaling":1.0,"random_loc_seed":-1)",
       kInvalid, "random_loc_seed"},
      {R"("peft_type":"LOHA","r":3)", kInvalid, "\"alpha\""},
      {R"("peft_type":"LOHA","r":513,"alpha":1)", kInvalid, "\"r\""},
      {R"("peft_type":"ADALORA","r":3,"lora_alpha":1)", kInvalid, "init_r"},
      {R"("peft_type":"LORA","r":3,"lora_alpha":1,"use_dora":true,
          "lora_bias":true)",
       kInvalid, "lora_bias"},
      {R"("peft_type":"VERA","r":3,"bias":"vera_only")", kUnimplemented,
       "bias"},
      {R"("peft_type":"LOHA","r":3,"alpha":1,"modules_to_save":["norm"])",
       kUnimplemented, "modules_to_save"},
      {R"("peft_type":"OFT")", kUnimplemented, "merge_and_unload"},
      {R"("peft_type":"XLORA")", kUnimplemented, "weigh them in a recipe"},
      {R"("peft_type":"PROMPT_TUNING")", kUnimplemented, "virtual tokens"},
      {R"("peft_type":"VBLORA")", kUnimplemented, "save_as_lora"},
  };
  for (const auto& c : cases) {
    EXPECT_THAT(Match(c.config, {{Name("x"), {1}}}),
                StatusIs(c.code, HasSubstr(c.message)))
        << c.config;
  }
}

TEST(AdapterKindsTest, LossyAndCostlyConversionsAreTold) {
  const auto loha = [](int64_t r, int64_t size) {
    return Match(absl::StrCat(R"("peft_type":"LOHA","alpha":1,"r":)", r),
                 {{Name("hada_w1_a"), {size, r}},
                  {Name("hada_w1_b"), {r, size}},
                  {Name("hada_w2_a"), {size, r}},
                  {Name("hada_w2_b"), {r, size}}},
                 size, size);
  };
  const auto exact = loha(22, 2048);
  ASSERT_THAT(exact, IsOk());
  EXPECT_EQ(exact->modules[0].rank, 22 * 22);
  EXPECT_TRUE(exact->modules[0].is_exact);
  const auto lossy = loha(32, 2048);
  ASSERT_THAT(lossy, IsOk());
  EXPECT_EQ(lossy->modules[0].rank, kMaxServedRank);
  EXPECT_FALSE(lossy->modules[0].is_exact);
  // No rank is too large for a small layer.
  const auto small = loha(32, 300);
  ASSERT_THAT(small, IsOk());
  EXPECT_EQ(small->modules[0].rank, 300);
  EXPECT_TRUE(small->modules[0].is_exact);
  EXPECT_THAT(loha(128, 8192),
              StatusIs(kUnimplemented, AllOf(HasSubstr("values in memory"),
                                             HasSubstr("save_as_lora"))));
}

TEST(AdapterKindsTest, ScaledInputsNeedALayerThatReadsAlone) {
  const std::vector<TestTensor> input = {{Name("ia3_l"), {1, 6}}};
  EXPECT_THAT(Match(R"("peft_type":"IA3")", input, 6, 10, true), IsOk());
  EXPECT_THAT(Match(R"("peft_type":"IA3")", input, 6, 10, false),
              StatusIs(kUnimplemented, HasSubstr("feedforward_modules")));
}

}  // namespace
}  // namespace stockpot
