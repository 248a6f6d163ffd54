#include "formats/adapter_layout.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"

#include "tests/formats/fixtures.h"
#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::MaterialDir;
using ::stockpot::testing::ReadAll;
using ::stockpot::testing::StatusIs;
using ::stockpot::testing::TestTensor;
using ::stockpot::testing::ZeroSafetensors;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;

SafetensorsHeader HeaderOf(const std::vector<TestTensor>& tensors) {
  const std::string file = ZeroSafetensors(tensors);
  auto header = ParseSafetensorsHeader(file, file.size(), AdapterLimits());
  EXPECT_THAT(header, IsOk());
  return header.ok() ? *header : SafetensorsHeader();
}

AdapterConfig ConfigOf(const std::string& fields) {
  auto config = AdapterConfig::Parse(
      absl::StrCat(R"({"peft_type":"LORA","lora_alpha":16,)", fields, "}"));
  EXPECT_THAT(config, IsOk());
  return *config;
}

// q: 6 -> 10, v: 6 -> 4, and a head.
std::vector<BaseModule> Base() {
  return {{"model.layers.0.self_attn.q_proj", 6, 10},
          {"model.layers.0.self_attn.v_proj", 6, 4},
          {"lm_head", 6, 50, true}};
}

const char kQ[] = "base_model.model.model.layers.0.self_attn.q_proj";
const char kV[] = "base_model.model.model.layers.0.self_attn.v_proj";
const char kQv[] = R"("r":2,"target_modules":["q_proj","v_proj"])";

std::vector<TestTensor> GoodTensors() {
  return {{absl::StrCat(kQ, ".lora_A.weight"), {2, 6}},
          {absl::StrCat(kQ, ".lora_B.weight"), {10, 2}},
          {absl::StrCat(kV, ".lora_A.weight"), {2, 6}, "BF16", 2},
          {absl::StrCat(kV, ".lora_B.weight"), {4, 2}, "F16", 2}};
}

absl::StatusOr<AdapterLayout> Match(const std::vector<TestTensor>& tensors,
                                    const char* config = kQv) {
  return MatchAdapter(HeaderOf(tensors), ConfigOf(config), Base());
}

TEST(MatchAdapterTest, PairsFactorsWithModules) {
  const SafetensorsHeader header = HeaderOf(GoodTensors());
  const auto layout = MatchAdapter(header, ConfigOf(kQv), Base());
  ASSERT_THAT(layout, IsOk());
  ASSERT_EQ(layout->modules.size(), 2);
  const AdaptedModule& v = layout->modules[1];
  EXPECT_EQ(v.module, 1);
  EXPECT_EQ(header.tensors[v.parts[AdapterPart::kLoraA]].name,
            absl::StrCat(kV, ".lora_A.weight"));
  EXPECT_EQ(header.tensors[v.parts[AdapterPart::kLoraB]].name,
            absl::StrCat(kV, ".lora_B.weight"));
  EXPECT_EQ(v.rank, 2);
  EXPECT_EQ(v.scale, 8.0);
  EXPECT_EQ(layout->num_parameters, 2 * (6 + 10) + 2 * (6 + 4));
  EXPECT_EQ(layout->min_rank, 2);
  EXPECT_EQ(layout->max_rank, 2);
  EXPECT_THAT(layout->target_suffixes, ElementsAre("q_proj", "v_proj"));
}

TEST(MatchAdapterTest, AdapterNameInTheTensorNameIsAccepted) {
  auto tensors = GoodTensors();
  for (TestTensor& tensor : tensors) {
    tensor.name =
        absl::StrReplaceAll(tensor.name, {{".weight", ".default.weight"}});
  }
  EXPECT_THAT(Match(tensors), IsOk());
  tensors.push_back({absl::StrCat(kQ, ".lora_A.weight"), {2, 6}});
  EXPECT_THAT(Match(tensors), StatusIs(kInvalid, HasSubstr("also stored as")));
}

TEST(MatchAdapterTest, RankMayDifferByModule) {
  auto tensors = GoodTensors();
  tensors[2].shape = {3, 6};
  tensors[3].shape = {4, 3};
  const auto layout = Match(
      tensors,
      R"("r":2,"target_modules":["q_proj","v_proj"],"rank_pattern":{"v_proj":3},
         "alpha_pattern":{"v_proj":6})");
  ASSERT_THAT(layout, IsOk());
  EXPECT_EQ(layout->modules[1].rank, 3);
  EXPECT_EQ(layout->modules[1].scale, 2.0);
  EXPECT_EQ(layout->min_rank, 2);
  EXPECT_EQ(layout->max_rank, 3);
  EXPECT_THAT(Match(tensors), StatusIs(kInvalid, HasSubstr("says 2")));
}

TEST(MatchAdapterTest, HeadMayBeAdapted) {
  const auto layout =
      Match({{"base_model.model.lm_head.lora_A.weight", {2, 6}},
             {"base_model.model.lm_head.lora_B.weight", {50, 2}}},
            R"("r":2,"target_modules":["lm_head"])");
  ASSERT_THAT(layout, IsOk());
  EXPECT_EQ(layout->modules[0].module, 2);
}

TEST(MatchAdapterTest, UnknownModuleNamesItsNeighbours) {
  auto tensors = GoodTensors();
  tensors.push_back(
      {"base_model.model.model.layers.7.self_attn.v_proj.lora_A.weight",
       {2, 6}});
  EXPECT_THAT(
      Match(tensors),
      StatusIs(kInvalid,
               AllOf(HasSubstr("\"model.layers.7.self_attn.v_proj\""),
                     HasSubstr("nearest are "
                               "\"model.layers.0.self_attn.v_proj\""))));
}

TEST(MatchAdapterTest, HalvesAreRefused) {
  auto tensors = GoodTensors();
  tensors.erase(tensors.begin() + 1);
  EXPECT_THAT(Match(tensors),
              StatusIs(kInvalid, HasSubstr("lora_B is missing")));
  tensors = GoodTensors();
  tensors.erase(tensors.begin() + 2);
  EXPECT_THAT(Match(tensors),
              StatusIs(kInvalid, HasSubstr("lora_A is missing")));
}

TEST(MatchAdapterTest, ShapesAreCheckedOnBothSides) {
  struct Case {
    size_t tensor;
    std::vector<int64_t> shape;
    const char* message;
  };
  const Case cases[] = {
      {0, {2, 7}, "[rank, 6] for the input side"},
      {0, {6, 2}, "[rank, 6] for the input side"},
      {0, {12}, "two dimensions"},
      {0, {1, 2, 6}, "two dimensions"},
      {0, {0, 6}, "rank 0"},
      {0, {513, 6}, "rank 513"},
      {1, {11, 2}, "[10, 2] for the output side"},
      {1, {2, 10}, "[10, 2] for the output side"},
      {1, {10, 3}, "expected rank 2"},
  };
  for (const Case& c : cases) {
    auto tensors = GoodTensors();
    tensors[c.tensor].shape = c.shape;
    EXPECT_THAT(Match(tensors),
                StatusIs(kInvalid, AllOf(HasSubstr(tensors[c.tensor].name),
                                         HasSubstr(c.message))))
        << c.message;
  }
}

TEST(MatchAdapterTest, DtypeMustBeAFloat) {
  auto tensors = GoodTensors();
  tensors[0].dtype = "I32";
  EXPECT_THAT(Match(tensors), StatusIs(kInvalid, HasSubstr("dtype I32")));
  tensors[0].dtype = "F64";
  tensors[0].element_bytes = 8;
  EXPECT_THAT(Match(tensors), StatusIs(kInvalid, HasSubstr("dtype F64")));
}

TEST(MatchAdapterTest, ConfigAndWeightsMustNameTheSameModules) {
  EXPECT_THAT(Match(GoodTensors(), R"("r":2,"target_modules":["q_proj"])"),
              StatusIs(kInvalid, AllOf(HasSubstr("v_proj"),
                                       HasSubstr("does not target"))));
  auto tensors = GoodTensors();
  tensors.resize(2);
  EXPECT_THAT(
      Match(tensors),
      StatusIs(kInvalid, AllOf(HasSubstr("v_proj"), HasSubstr("no factors"))));
  EXPECT_THAT(Match({}), StatusIs(kInvalid, HasSubstr("no tensors")));
}

TEST(MatchAdapterTest, OtherTensorsAreRefusedByKind) {
  struct Case {
    std::string name;
    absl::StatusCode code;
    const char* message;
  };
  const Case cases[] = {
      {"base_model.model.model.embed_tokens.lora_embedding_A", kInvalid,
       "has no linear layer \"model.embed_tokens\""},
      {absl::StrCat(kQ, ".lora_embedding_A"), kInvalid,
       "a linear layer, whose factors are lora_A"},
      {absl::StrCat(kQ, ".lora_magnitude_vector"), kInvalid,
       "does not say use_dora"},
      {absl::StrCat(kQ, ".lora_B.bias"), kInvalid, "does not say lora_bias"},
      {absl::StrCat(kQ, ".lora_E"), kInvalid, "is of a ADALORA adapter"},
      {absl::StrCat(kQ, ".hada_w1_a"), kInvalid, "is of a LOHA adapter"},
      {absl::StrCat(kQ, ".bias"), kUnimplemented, "base model itself"},
      {"base_model.model.lm_head.weight", kInvalid, "expected shape [50, 6]"},
      {"base_model.model.model.norm.weight", kUnimplemented, "modules_to_save"},
      {"base_model.model.model.embed_tokens.token_adapter."
       "trainable_tokens_delta",
       kUnimplemented, "embedding rows"},
      {"model.layers.0.self_attn.q_proj.lora_A.weight", kInvalid,
       "expected a name like"},
      {"base_model.model.lora_A.weight", kInvalid, "expected a name like"},
      {absl::StrCat(kQ, ".lora_C.weight"), kInvalid, "expected a name like"},
      {absl::StrCat(kQ, ".lora_A.other.weight"), kInvalid,
       "expected a name like"},
  };
  for (const Case& c : cases) {
    auto tensors = GoodTensors();
    tensors.push_back({c.name, {2, 6}});
    EXPECT_THAT(Match(tensors), StatusIs(c.code, HasSubstr(c.message)))
        << c.name;
  }
}

TEST(MatchAdapterTest, MatchesRealGpt2Adapters) {
  const auto dir = MaterialDir() / "adapters" / "gpt2";
  STOCKPOT_SKIP_WITHOUT(dir);
  std::vector<BaseModule> base;
  for (int i = 0; i < 12; ++i) {
    const std::string layer = absl::StrCat("transformer.h.", i, ".");
    base.push_back({layer + "attn.c_attn", 768, 2304});
    base.push_back({layer + "attn.c_proj", 768, 768});
    base.push_back({layer + "mlp.c_fc", 768, 3072});
    base.push_back({layer + "mlp.c_proj", 3072, 768});
  }
  base.push_back({"lm_head", 768, 50257, true});
  for (const char* name : {"a", "b"}) {
    const std::string file = ReadAll(dir / name / "adapter_model.safetensors");
    const auto header =
        ParseSafetensorsHeader(file, file.size(), AdapterLimits());
    ASSERT_THAT(header, IsOk());
    const auto config =
        AdapterConfig::Parse(ReadAll(dir / name / "adapter_config.json"));
    ASSERT_THAT(config, IsOk());
    const auto layout = MatchAdapter(*header, *config, base);
    ASSERT_THAT(layout, IsOk());
    EXPECT_EQ(layout->modules.size(), 36);
    EXPECT_EQ(layout->num_parameters,
              12 * 8 * (768 + 2304 + 768 + 768 + 3072 + 768));
    EXPECT_EQ(layout->modules[0].scale, 4.0);
    EXPECT_THAT(layout->target_suffixes, ElementsAre("c_attn", "c_proj"));
    FiniteScanner scanner(*header);
    EXPECT_THAT(
        scanner.Feed(absl::string_view(file).substr(header->data_offset)),
        IsOk());
    EXPECT_THAT(scanner.Finish(), IsOk());
  }
}

}  // namespace
}  // namespace stockpot
