#include "merge/lora_exporter.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/sha256.h"
#include "merge/composition.h"
#include "tests/merge/kitchen.h"

namespace stockpot {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::Kitchen;
using testing::LoraConfig;
using testing::MaxDifference;
using testing::StatusIs;
using testing::TinyAdapter;
using testing::TinyAdapterSpec;
using testing::TinyModelSpec;

TinyAdapter ReadAll(AdapterExport* exported) {
  TinyAdapter adapter;
  adapter.config = exported->adapter_config();
  std::string chunk;
  while (true) {
    const auto more = exported->Next(&chunk);
    EXPECT_THAT(more, IsOk());
    if (!more.ok() || !*more) break;
    EXPECT_LE(chunk.size(), size_t{1} << 20);
    adapter.safetensors += chunk;
  }
  return adapter;
}

class LoraExporterTest : public ::testing::TestWithParam<bool> {
 protected:
  LoraExporterTest() : kitchen_(Spec()), exporter_(&kitchen_.model(), "base") {
    // Ranks and targets differ, so that patterns are needed.
    const char* attention = GetParam() ? "q_proj" : "c_attn";
    const char* mlp = GetParam() ? "down_proj" : "c_fc";
    kitchen_.Register(
        "a", TinyAdapterSpec{.config = LoraConfig(3, 6, {attention, mlp}),
                             .seed = 1});
    kitchen_.Register(
        "b",
        TinyAdapterSpec{.config = LoraConfig(
                            5, 5, nlohmann::ordered_json::array({attention})),
                        .seed = 2});
  }

  static TinyModelSpec Spec() {
    return GetParam() ? testing::TinyLlama() : testing::TinyGpt2();
  }

  // Exports, registers what came out as "exported", and compares the logits of
  // the two.
  void ExpectServesTheSame(std::shared_ptr<const Composition> composition) {
    auto exported = exporter_.Export(composition);
    ASSERT_THAT(exported, IsOk());
    const TinyAdapter adapter = ReadAll(exported->get());
    EXPECT_EQ(adapter.safetensors.size(), (*exported)->size_bytes());
    EXPECT_EQ(Sha256::Of(adapter.safetensors), (*exported)->sha256());
    kitchen_.Register("exported", adapter);
    const auto served =
        kitchen_.Run(kitchen_.MakeRecipe({{"exported", 1, {}}}), tokens_);
    testing::ModelDriver driver(&kitchen_.model());
    const auto expected = driver.Run(
        tokens_, 1, &kitchen_.pool().Prepare({composition}), /*mix=*/1);
    ASSERT_THAT(expected, IsOk());
    EXPECT_LE(MaxDifference(served, *expected), 1e-4f);
    const auto base = kitchen_.Run(Recipe(), tokens_);
    EXPECT_GT(MaxDifference(served, base), 1e-2f);
  }

  const std::vector<int32_t> tokens_ = {1, 5, 9, 2, 7};
  Kitchen kitchen_;
  LoraExporter exporter_;
};

TEST_P(LoraExporterTest, ExportedMixGivesTheLogitsOfTheRecipe) {
  const std::string first =
      GetParam() ? "model.layers.0.*.*" : "transformer.h.0.*.*";
  ExpectServesTheSame(kitchen_.Compose(
      kitchen_.MakeRecipe({{"a", 0.7f, {{first, -2}}}, {"b", -1.5f, {}}})));
}

TEST_P(LoraExporterTest, JointMixIsExportedAsTheProductOfItsSums) {
  const char* attention = GetParam() ? "q_proj" : "c_attn";
  kitchen_.Register(
      "c",
      TinyAdapterSpec{.config = LoraConfig(
                          5, 5, nlohmann::ordered_json::array({attention})),
                      .seed = 3});
  const auto plain =
      kitchen_.Compose(kitchen_.MakeRecipe({{"b", 1.5f, {}}, {"c", 2, {}}}));
  auto mix = std::make_shared<MixingCoefficients>(*plain->mix);
  mix->shrink_by_skill = mix->by_skill;
  for (float& share : mix->shrink_by_skill[0]) share *= -0.5f;
  auto joint = std::make_shared<Composition>(*plain);
  joint->mix = mix;
  joint->recipe = Sha256::Of("joint");
  for (size_t i = 0; i < joint->skills.size(); ++i) {
    joint->skills[i].coefficients = &mix->by_skill[i];
    joint->skills[i].shrink = &mix->shrink_by_skill[i];
  }
  ExpectServesTheSame(joint);
}

// Of the largest rank that a merge gives (calibrated cat is merged).
TEST_P(LoraExporterTest, TheLargestMergeIsTakenBack) {
  for (const char* name : {"c", "d"}) {
    kitchen_.Register(
        name, TinyAdapterSpec{
                  .config = LoraConfig(MergeOptions::kMaxRank / 2, 4,
                                       nlohmann::ordered_json::array(
                                           {GetParam() ? "q_proj" : "c_attn"})),
                  .seed = static_cast<uint64_t>(*name)});
  }
  const auto merged = kitchen_.Compose(
      kitchen_.MakeRecipe({{"c", 1, {}}, {"d", -0.5f, {}}}, {.pico = true}));
  EXPECT_EQ(*std::max_element(merged->skills[0].adapter->ranks.begin(),
                              merged->skills[0].adapter->ranks.end()),
            static_cast<int32_t>(MergeOptions::kMaxRank));
  ExpectServesTheSame(merged);
}

TEST_P(LoraExporterTest, NothingToExportIsRefused) {
  EXPECT_THAT(exporter_.Export(nullptr),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("adds nothing")));
}

INSTANTIATE_TEST_SUITE_P(All, LoraExporterTest, ::testing::Bool(),
                         [](const auto& info) {
                           return info.param ? "llama" : "gpt2";
                         });

}  // namespace
}  // namespace stockpot
