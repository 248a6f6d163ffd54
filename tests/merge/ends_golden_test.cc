// Adapters that change embedding and head, from the registry to the logits,
// against PEFT's (tests/golden/make_end_goldens.py): factors, rows of some
// tokens, whole weights; tied and untied; alone, mixed, in one batch, and
// refused where they cannot be composed.

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "merge/adapter_factors.h"
#include "merge/lora_exporter.h"
#include "tests/merge/golden_bases.h"
#include "tests/merge/kitchen.h"
#include "tests/testing/model_driver.h"
#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::ExpectEachAloneEqualsPeft;
using ::stockpot::testing::ExpectMixesFollowTheFormula;
using ::stockpot::testing::ExpectOneBatchEqualsEachAlone;
using ::stockpot::testing::GoldenAdapter;
using ::stockpot::testing::GoldenBase;
using ::stockpot::testing::IsOk;
using ::stockpot::testing::Kitchen;
using ::stockpot::testing::MaxDifference;
using ::stockpot::testing::ModelDriver;
using ::stockpot::testing::ReadGoldens;
using ::stockpot::testing::RegisterAll;
using ::stockpot::testing::Rows;
using ::stockpot::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr float kTolerance = 1e-4f;
const char kGoldens[] = STOCKPOT_SOURCE_DIR "/tests/golden/model/ends";

class EndsGoldenTest : public ::testing::TestWithParam<GoldenBase> {
 protected:
  void SetUp() override { RegisterAll(GetParam(), &kitchen_); }

  Recipe Only(const std::string& name, float weight = 1) const {
    return kitchen_.MakeRecipe({{name, weight, {}}});
  }
  const std::vector<int32_t>& tokens() const { return GetParam().tokens; }
  bool is_tied() const { return kitchen_.model().config().tie_embeddings; }
  std::string embedding() const {
    const std::vector<BaseModule>& modules = kitchen_.model().modules();
    return modules[EmbeddingIndex(modules.size())].path;
  }

  mutable Kitchen kitchen_{GetParam().spec};
};

TEST_P(EndsGoldenTest, EveryAdapterAloneEqualsPeft) {
  ExpectEachAloneEqualsPeft(GetParam(), kTolerance, &kitchen_);
}

TEST_P(EndsGoldenTest, MixesFollowTheFormula) {
  ExpectMixesFollowTheFormula(GetParam(), kTolerance, &kitchen_);
}

TEST_P(EndsGoldenTest, AMixedBatchEqualsEachAlone) {
  ExpectOneBatchEqualsEachAlone(GetParam(), kTolerance, &kitchen_);
}

TEST_P(EndsGoldenTest, ABaseRowBesideEveryAdapterIsTheBaseBitForBit) {
  std::vector<std::shared_ptr<const Composition>> compositions;
  for (const GoldenAdapter& golden : GetParam().adapters) {
    compositions.push_back(kitchen_.Compose(Only(golden.name)));
  }
  ModelDriver base(&kitchen_.model());
  const Rows expected = *base.Run(tokens(), 1);
  for (SkillPool* pool : {&kitchen_.pool(), &kitchen_.stacked_pool()}) {
    ModelDriver mixed(&kitchen_.model());
    EXPECT_EQ(*mixed.Run(tokens(), 1, &pool->Prepare(compositions), 0),
              expected);
  }
}

// An end that an adapter leaves alone brings nothing to a step.
TEST_P(EndsGoldenTest, StepsWithoutSuchRowsHaveNoneToLookUp) {
  const size_t head = kitchen_.model().modules().size() - 1;
  const size_t embedding = head - 1;
  const auto composition = kitchen_.Compose(Only("embedding"));
  const DeltaSet& factors = kitchen_.pool().Prepare({composition});
  EXPECT_TRUE(factors[embedding].replaced.empty());
  EXPECT_FALSE(factors[embedding].empty());
  EXPECT_TRUE(factors[head].empty());
  const auto saved = kitchen_.Compose(Only("saved_head"));
  const DeltaSet& rows = kitchen_.pool().Prepare({saved});
  EXPECT_TRUE(rows[embedding].replaced.empty());
  EXPECT_TRUE(rows[embedding].empty());
  EXPECT_EQ(rows[head].replaced.size(), 1);
}

TEST_P(EndsGoldenTest, ARestingPoolHoldsNoRows) {
  for (SkillPool* pool : {&kitchen_.pool(), &kitchen_.stacked_pool()}) {
    auto composition = kitchen_.Compose(Only("saved_head"));
    const std::weak_ptr<const TokenRows> rows =
        composition->skills[0].adapter->factors->replaced[0].rows;
    pool->Prepare({composition});
    const int64_t held = rows.use_count();
    pool->Rest();
    EXPECT_EQ(rows.use_count(), held - 1);
  }
}

TEST_P(EndsGoldenTest, Bfloat16FollowsTheReference) {
  Kitchen kitchen(GetParam().spec, at::kBFloat16);
  RegisterAll(GetParam(), &kitchen);
  for (const GoldenAdapter& golden : GetParam().adapters) {
    const Recipe recipe = kitchen.MakeRecipe({{golden.name, 1, {}}});
    EXPECT_LE(MaxDifference(kitchen.Run(recipe, tokens()), golden.logits), 0.6f)
        << golden.name;
  }
}

TEST_P(EndsGoldenTest, ResidentBytesCountSharedRowsOnce) {
  for (const GoldenAdapter& golden : GetParam().adapters) {
    const Digest digest = kitchen_.digest(golden.name);
    const auto bytes = kitchen_.source().ResidentBytes(digest);
    const auto adapter = kitchen_.source().Load(digest);
    ASSERT_THAT(bytes, IsOk());
    ASSERT_THAT(adapter, IsOk());
    EXPECT_GE(*bytes, (*adapter)->bytes) << golden.name;
    int64_t held = 0;
    for (const ModuleFactors& m : (*adapter)->factors->modules) {
      held += m.bytes();
    }
    std::set<const TokenRows*> seen;
    for (const ModuleRows& m : (*adapter)->factors->replaced) {
      if (seen.insert(m.rows.get()).second) {
        held += static_cast<int64_t>(m.rows->rows().nbytes());
      }
    }
    // Beside the tensors, a few numbers per token.
    EXPECT_GE((*adapter)->bytes, held) << golden.name;
    EXPECT_LE((*adapter)->bytes, held + 24 * 16) << golden.name;
    if (golden.name == "tokens") {
      EXPECT_EQ((*adapter)->factors->replaced.size(), is_tied() ? 2 : 1);
      EXPECT_EQ(seen.size(), 1);
    }
  }
}

// By a method that keeps the whole sum, merged factors of the embedding are the
// sum itself.
TEST_P(EndsGoldenTest, EmbeddingFactorsMergeAsAnyOthers) {
  const std::vector<Kitchen::Skill> skills = {{"embedding", 0.7f, {}},
                                              {"both_ends", -0.5f, {}}};
  MergeOptions svd;
  svd.method = MergeMethod::kSvd;
  svd.rank = 9;  // 4 and 3 of the embedding, 5 of the head.
  EXPECT_LE(
      MaxDifference(kitchen_.Run(kitchen_.MakeRecipe(skills, svd), tokens()),
                    kitchen_.Run(kitchen_.MakeRecipe(skills), tokens())),
      1e-3f);
  for (const MergeMethod method : {MergeMethod::kTies, MergeMethod::kDare}) {
    MergeOptions options;
    options.method = method;
    options.space = MergeSpace::kDelta;
    options.density = 0.5f;
    const auto composed =
        kitchen_.composer().Compose(kitchen_.MakeRecipe(skills, options));
    EXPECT_THAT(composed, IsOk());
  }
}

TEST_P(EndsGoldenTest, RowsThatCannotBeComposedAreRefusedInWords) {
  const auto refused = [](const std::string& module, const char* why) {
    return StatusIs(absl::StatusCode::kFailedPrecondition,
                    AllOf(HasSubstr("\"" + module + "\""), HasSubstr(why),
                          HasSubstr("weight 0 in module_weights")));
  };
  const auto compose = [&](const std::vector<Kitchen::Skill>& skills,
                           MergeMethod method = MergeMethod::kCat) {
    MergeOptions options;
    options.method = method;
    return kitchen_.composer().Compose(kitchen_.MakeRecipe(skills, options));
  };
  EXPECT_THAT(compose({{"tokens", 0.5f, {}}}),
              refused(embedding(), "share of 0.5"));
  EXPECT_THAT(compose({{"saved_head", 2, {}}}), refused("lm_head", "share of"));
  EXPECT_THAT(compose({{"saved_both", 1, {}}, {"tokens", 1, {}}}),
              refused(embedding(), "would have two"));
  EXPECT_THAT(compose({{"saved_head", 1, {}}, {"tokens_of_head", 1, {}}}),
              refused("lm_head", "would have two"));
  EXPECT_THAT(compose({{"tokens", 1, {}}, {"tokens_apart", 1, {}}}),
              refused(embedding(), "would have two"));
  for (const MergeMethod method :
       {MergeMethod::kLinear, MergeMethod::kSvd, MergeMethod::kTies}) {
    EXPECT_THAT(compose({{"tokens", 1, {}}, {"saved_head", 1, {}}}, method),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         HasSubstr("does not define. Use cat")));
  }
}

// Left out by weight 0, rows are the base model's again, and the rest of the
// adapter may have any weight.
TEST_P(EndsGoldenTest, RowsAreLeftOutByWeightZero) {
  const std::vector<ModuleWeight> inner = {{embedding(), 0}, {"lm_head", 0}};
  const Recipe half =
      kitchen_.MakeRecipe({{"saved_both", 0.5f, inner}, {"tokens", 1, {}}});
  EXPECT_THAT(kitchen_.composer().Compose(half), IsOk());
  Kitchen plain(GetParam().spec);
  for (const GoldenAdapter& golden : GetParam().adapters) {
    if (golden.name != "saved_both") continue;
    // The same factors in a file without the rows.
    nlohmann::ordered_json config =
        nlohmann::ordered_json::parse(golden.files.config);
    config["modules_to_save"] = nullptr;
    plain.Register("factors",
                   testing::TinyAdapterSpec{
                       .config = config, .seed = static_cast<uint64_t>(510)});
  }
  const Recipe with = kitchen_.MakeRecipe({{"saved_both", 0.5f, inner}});
  const Recipe without = plain.MakeRecipe({{"factors", 0.5f, {}}});
  EXPECT_EQ(kitchen_.Run(with, tokens()), plain.Run(without, tokens()));
}

testing::TinyAdapter ReadAll(AdapterExport* exported) {
  testing::TinyAdapter files{exported->adapter_config(), ""};
  for (std::string chunk;;) {
    const auto more = exported->Next(&chunk);
    EXPECT_THAT(more, IsOk());
    if (!more.ok() || !*more) break;
    files.safetensors += chunk;
  }
  EXPECT_EQ(files.safetensors.size(), exported->size_bytes());
  return files;
}

TEST_P(EndsGoldenTest, AnExportOfFactorsServesTheSame) {
  LoraExporter exporter(&kitchen_.model(), "tiny");
  auto exported = exporter.Export(kitchen_.Compose(kitchen_.MakeRecipe(
      {{"embedding", 0.7f, {}}, {"both_ends", -0.5f, {}}})));
  ASSERT_THAT(exported, IsOk());
  const testing::TinyAdapter files = ReadAll(exported->get());
  EXPECT_THAT(files.safetensors,
              HasSubstr(embedding() + ".lora_embedding_A\""));
  kitchen_.Register("exported", files);
  EXPECT_LE(MaxDifference(kitchen_.Run(Only("exported"), tokens()),
                          GetParam().mixes[0].logits),
            kTolerance);
}

// PEFT opened the golden's config and tensors and gave its logits; here are the
// same config and tensors, which serve the same.
TEST_P(EndsGoldenTest, AnExportOfRowsIsWhatPeftOpens) {
  ASSERT_EQ(GetParam().exports.size(), 6);
  LoraExporter exporter(&kitchen_.model(), "tiny");
  for (const testing::GoldenExport& golden : GetParam().exports) {
    auto exported =
        exporter.Export(kitchen_.Compose(kitchen_.MakeRecipe(golden.skills)));
    ASSERT_THAT(exported, IsOk()) << golden.name;
    const testing::TinyAdapter files = ReadAll(exported->get());
    // As objects whose keys have no order.
    EXPECT_EQ(nlohmann::json::parse(files.config),
              nlohmann::json::parse(golden.config.dump()))
        << golden.name;
    const auto header = ParseSafetensorsHeader(
        files.safetensors, files.safetensors.size(), AdapterLimits());
    ASSERT_THAT(header, IsOk());
    ASSERT_EQ(header->tensors.size(), golden.tensors.size()) << golden.name;
    for (const testing::TinyTensor& want : golden.tensors) {
      const TensorInfo* have = header->Find(want.name);
      ASSERT_NE(have, nullptr) << golden.name << ": " << want.name;
      EXPECT_EQ(have->shape, want.shape) << golden.name << ": " << want.name;
    }
    EXPECT_THAT(kitchen_.Validate(files), IsOk()) << golden.name;
    kitchen_.Register("exported_" + golden.name, files);
    EXPECT_LE(
        MaxDifference(kitchen_.Run(Only("exported_" + golden.name), tokens()),
                      golden.logits),
        kTolerance)
        << golden.name;
  }
}

TEST_P(EndsGoldenTest, WhatPeftHasNoFormForIsNotExported) {
  LoraExporter exporter(&kitchen_.model(), "tiny");
  const auto export_of = [&](const std::vector<Kitchen::Skill>& skills) {
    return exporter.Export(kitchen_.Compose(kitchen_.MakeRecipe(skills)));
  };
  const auto refused = [](const std::string& module, const char* why) {
    return StatusIs(absl::StatusCode::kFailedPrecondition,
                    AllOf(HasSubstr("\"" + module + "\" cannot be exported"),
                          HasSubstr(why), HasSubstr("module_weights")));
  };
  EXPECT_THAT(export_of({{"tokens", 1, {}}, {"embedding", 0.5f, {}}}),
              refused(embedding(), "trained rows and factors"));
  const std::vector<ModuleWeight> not_head = {{"lm_head", 0}};
  const auto rows_of_embedding = export_of({{"tokens", 1, not_head}});
  const auto beside_a_head =
      export_of({{"tokens", 1, not_head}, {"saved_head", 1, {}}});
  if (is_tied()) {
    EXPECT_THAT(rows_of_embedding, refused(embedding(), "of the head as well"));
    EXPECT_THAT(beside_a_head, refused("lm_head", "saves a tied head whole"));
  } else {
    EXPECT_THAT(rows_of_embedding, IsOk());
    EXPECT_THAT(beside_a_head, IsOk());
  }
}

// Changes the last bit of one value of the tensor `name`.
testing::TinyAdapter WithOtherBit(testing::TinyAdapter files,
                                  const std::string& name) {
  const auto header = ParseSafetensorsHeader(
      files.safetensors, files.safetensors.size(), AdapterLimits());
  EXPECT_THAT(header, IsOk());
  const TensorInfo* tensor = header->Find(name);
  EXPECT_NE(tensor, nullptr) << name;
  char& byte = files.safetensors[header->data_offset + tensor->end - 4];
  byte = static_cast<char>(byte ^ 1);
  return files;
}

// What PEFT would load over the base model must be the base model.
TEST_P(EndsGoldenTest, ACopyOfTheBaseThatDiffersIsRefusedByName) {
  for (const GoldenAdapter& golden : GetParam().adapters) {
    if (golden.name == "copies") {
      EXPECT_THAT(kitchen_.Validate(golden.files), IsOk());
      for (const std::string& path : {embedding(), std::string("lm_head")}) {
        const std::string name =
            "base_model.model." + path + ".base_layer.weight";
        EXPECT_THAT(kitchen_.Validate(WithOtherBit(golden.files, name)),
                    StatusIs(absl::StatusCode::kInvalidArgument,
                             AllOf(HasSubstr(name),
                                   HasSubstr("save_embedding_layers=False"))));
      }
    } else if (golden.name == "saved_both") {
      // Trained weights without the word that they are.
      testing::TinyAdapter files = golden.files;
      auto config = nlohmann::ordered_json::parse(files.config);
      config["modules_to_save"] = nullptr;
      files.config = config.dump();
      EXPECT_THAT(kitchen_.Validate(files),
                  StatusIs(absl::StatusCode::kInvalidArgument,
                           HasSubstr("name it in modules_to_save")));
    }
  }
}

// PEFT saves the rows of a tied model under two names, and loads one over the
// other.
TEST_P(EndsGoldenTest, RowsSavedTwiceMustBeTheSame) {
  const std::string name = "base_model.model.lm_head.trainable_tokens_delta";
  for (const GoldenAdapter& golden : GetParam().adapters) {
    if (golden.name != "rows_alone") continue;
    EXPECT_THAT(kitchen_.Validate(golden.files), IsOk());
    EXPECT_EQ(golden.files.safetensors.find(name) != std::string::npos,
              is_tied());
    if (is_tied()) {
      EXPECT_THAT(kitchen_.Validate(WithOtherBit(golden.files, name)),
                  StatusIs(absl::StatusCode::kInvalidArgument,
                           AllOf(HasSubstr(name), HasSubstr("they differ"))));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, EndsGoldenTest,
                         ::testing::ValuesIn(ReadGoldens(kGoldens)),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace stockpot
