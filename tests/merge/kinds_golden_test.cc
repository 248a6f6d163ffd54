// Adapters of every kind from the registry to the logits, against PEFT's
// (tests/golden/make_kind_goldens.py), alone, mixed in one batch, and refused
// where their kind cannot be composed.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "merge/adapter_factors.h"
#include "tests/merge/kitchen.h"
#include "tests/testing/model_driver.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/test_device.h"
#include "tests/testing/tiny_adapter.h"
#include "tests/testing/tiny_model.h"

namespace stockpot {
namespace {

using ::nlohmann::ordered_json;
using ::stockpot::testing::IsOk;
using ::stockpot::testing::Kitchen;
using ::stockpot::testing::MaxDifference;
using ::stockpot::testing::ModelDriver;
using ::stockpot::testing::RawTensor;
using ::stockpot::testing::ReadFloats;
using ::stockpot::testing::ReadJson;
using ::stockpot::testing::Rows;
using ::stockpot::testing::SafetensorsFile;
using ::stockpot::testing::StatusIs;
using ::stockpot::testing::TinyAdapter;
using ::stockpot::testing::TinyModelSpec;
using ::stockpot::testing::TinyTensor;
using ::stockpot::testing::TinyTensorBytes;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr float kTolerance = 1e-4f;
const char kGoldens[] = STOCKPOT_SOURCE_DIR "/tests/golden/model/kinds";

struct GoldenAdapter {
  std::string name;
  TinyAdapter files;
  Rows logits;  // Alone at weight 1, [tokens][vocab].
};

struct GoldenMix {
  std::string name;
  std::vector<Kitchen::Skill> skills;
  Rows logits;
};

struct GoldenBase {
  std::string name;
  TinyModelSpec spec;
  std::vector<int32_t> tokens;
  Rows base_logits;
  std::vector<GoldenAdapter> adapters;
  std::vector<GoldenMix> mixes;
};

Rows Split(const std::vector<float>& flat, size_t vocab) {
  Rows rows;
  for (size_t i = 0; i < flat.size(); i += vocab) {
    rows.emplace_back(flat.begin() + static_cast<int64_t>(i),
                      flat.begin() + static_cast<int64_t>(i + vocab));
  }
  return rows;
}

TinyAdapter FilesOf(const ordered_json& adapter) {
  const Dtype dtype = *DtypeFromName(adapter.at("dtype").get<std::string>());
  std::vector<RawTensor> tensors;
  for (const ordered_json& t : adapter.at("tensors")) {
    const TinyTensor tensor{t.at(0), t.at(1).get<std::vector<int64_t>>()};
    tensors.push_back({tensor.name, dtype, tensor.shape,
                       TinyTensorBytes(tensor, adapter.at("seed"), dtype)});
  }
  return {adapter.at("config").dump(), SafetensorsFile(tensors)};
}

std::vector<GoldenBase> ReadGoldens() {
  const auto tensors = ReadFloats(std::string(kGoldens) + ".safetensors");
  const ordered_json document = ReadJson(std::string(kGoldens) + ".json");
  std::vector<GoldenBase> bases;
  for (const ordered_json& b : document.at("bases")) {
    GoldenBase base;
    base.name = b.at("name");
    base.spec.config = b.at("config");
    base.spec.seed = b.at("seed");
    base.tokens = b.at("tokens").get<std::vector<int32_t>>();
    const size_t vocab = b.at("config").at("vocab_size");
    const auto rows = [&](const ordered_json& key) {
      return Split(tensors.at(key.get<std::string>()), vocab);
    };
    base.base_logits = rows(b.at("base_logits"));
    for (const ordered_json& a : b.at("adapters")) {
      base.adapters.push_back({a.at("name"), FilesOf(a), rows(a.at("logits"))});
    }
    for (const ordered_json& m : b.at("mixes")) {
      GoldenMix mix{m.at("name"), {}, rows(m.at("logits"))};
      for (const ordered_json& s : m.at("skills")) {
        mix.skills.push_back({s.at("adapter"), s.at("weight"), {}});
      }
      base.mixes.push_back(std::move(mix));
    }
    bases.push_back(std::move(base));
  }
  return bases;
}

class KindsGoldenTest : public ::testing::TestWithParam<GoldenBase> {
 protected:
  void SetUp() override { SKIP_WITHOUT_TEST_DEVICE(); }

  void RegisterAll(Kitchen* kitchen) const {
    for (const GoldenAdapter& adapter : GetParam().adapters) {
      SCOPED_TRACE(adapter.name);
      kitchen->Register(adapter.name, adapter.files);
    }
  }
  static Recipe Only(const Kitchen& kitchen, const std::string& name,
                     float weight = 1) {
    return kitchen.MakeRecipe({{name, weight, {}}});
  }
};

TEST_P(KindsGoldenTest, EveryKindAloneEqualsPeft) {
  Kitchen kitchen(GetParam().spec);
  RegisterAll(&kitchen);
  const std::vector<int32_t>& tokens = GetParam().tokens;
  for (const GoldenAdapter& golden : GetParam().adapters) {
    const Recipe recipe = Only(kitchen, golden.name);
    EXPECT_LE(MaxDifference(kitchen.Run(recipe, tokens), golden.logits),
              kTolerance)
        << golden.name << " token by token";
    EXPECT_LE(MaxDifference(kitchen.Run(recipe, tokens, 1000).back(),
                            golden.logits.back()),
              kTolerance)
        << golden.name << " in one step";
    // The comparison means something: the adapter moves the logits.
    EXPECT_GT(MaxDifference(golden.logits, GetParam().base_logits), 0.05f)
        << golden.name;
  }
}

TEST_P(KindsGoldenTest, BiasesAddUpByWeight) {
  Kitchen kitchen(GetParam().spec);
  RegisterAll(&kitchen);
  for (const GoldenMix& golden : GetParam().mixes) {
    EXPECT_LE(MaxDifference(kitchen.Run(kitchen.MakeRecipe(golden.skills),
                                        GetParam().tokens),
                            golden.logits),
              kTolerance)
        << golden.name;
  }
}

// Every adapter, every mix and two base rows in one batch, each at a position
// of its own.
TEST_P(KindsGoldenTest, AMixedBatchEqualsEachAlone) {
  Kitchen kitchen(GetParam().spec);
  RegisterAll(&kitchen);
  const std::vector<int32_t>& tokens = GetParam().tokens;
  std::vector<std::shared_ptr<const Composition>> compositions;
  std::vector<const Rows*> expected = {&GetParam().base_logits};
  for (const GoldenAdapter& golden : GetParam().adapters) {
    compositions.push_back(kitchen.Compose(Only(kitchen, golden.name)));
    expected.push_back(&golden.logits);
  }
  for (const GoldenMix& golden : GetParam().mixes) {
    compositions.push_back(kitchen.Compose(kitchen.MakeRecipe(golden.skills)));
    expected.push_back(&golden.logits);
  }
  expected.push_back(&GetParam().base_logits);
  for (SkillPool* pool : {&kitchen.pool(), &kitchen.stacked_pool()}) {
    const DeltaSet& deltas = pool->Prepare(compositions);
    ModelDriver driver(&kitchen.model());
    std::vector<int> ids;
    for (size_t s = 0; s < expected.size(); ++s) {
      ids.push_back(driver.NewSequence());
    }
    for (size_t step = 0; step < tokens.size() + 3; ++step) {
      std::vector<ModelDriver::Feed> feeds;
      std::vector<std::pair<size_t, size_t>> who;  // Sequence, position.
      for (size_t s = 0; s < expected.size(); ++s) {
        if (step < s % 4 || step - s % 4 >= tokens.size()) continue;
        const size_t position = step - s % 4;
        const bool is_base = s == 0 || s + 1 == expected.size();
        feeds.push_back({.sequence = ids[s],
                         .tokens = {tokens[position]},
                         .mix = is_base ? 0 : static_cast<int32_t>(s)});
        who.emplace_back(s, position);
      }
      const auto rows = driver.Step(feeds, &deltas);
      ASSERT_THAT(rows, IsOk());
      for (size_t i = 0; i < who.size(); ++i) {
        const auto [s, position] = who[i];
        EXPECT_LE(MaxDifference((*rows)[i], (*expected[s])[position]),
                  kTolerance)
            << "sequence " << s << " position " << position;
      }
    }
  }
}

TEST_P(KindsGoldenTest, ABaseRowBesideEveryKindIsTheBaseBitForBit) {
  Kitchen kitchen(GetParam().spec);
  RegisterAll(&kitchen);
  std::vector<std::shared_ptr<const Composition>> compositions;
  for (const GoldenAdapter& golden : GetParam().adapters) {
    compositions.push_back(kitchen.Compose(Only(kitchen, golden.name)));
  }
  const std::vector<int32_t>& tokens = GetParam().tokens;
  ModelDriver base(&kitchen.model());
  ModelDriver mixed(&kitchen.model());
  EXPECT_EQ(*mixed.Run(tokens, 1, &kitchen.pool().Prepare(compositions), 0),
            *base.Run(tokens, 1));
}

TEST_P(KindsGoldenTest, Bfloat16FollowsTheReference) {
  Kitchen kitchen(GetParam().spec, at::kBFloat16);
  RegisterAll(&kitchen);
  for (const GoldenAdapter& golden : GetParam().adapters) {
    EXPECT_LE(MaxDifference(
                  kitchen.Run(Only(kitchen, golden.name), GetParam().tokens),
                  golden.logits),
              0.6f)
        << golden.name;
  }
}

TEST_P(KindsGoldenTest, ResidentBytesAreAtLeastWhatLoadingTakes) {
  Kitchen kitchen(GetParam().spec);
  RegisterAll(&kitchen);
  for (const GoldenAdapter& golden : GetParam().adapters) {
    const Digest digest = kitchen.digest(golden.name);
    const auto bytes = kitchen.source().ResidentBytes(digest);
    const auto adapter = kitchen.source().Load(digest);
    ASSERT_THAT(bytes, IsOk());
    ASSERT_THAT(adapter, IsOk());
    EXPECT_GE(*bytes, (*adapter)->bytes) << golden.name;
    int64_t held = 0;
    for (const ModuleFactors& m : (*adapter)->factors->modules) {
      held += m.bytes();
    }
    EXPECT_EQ((*adapter)->bytes, held) << golden.name;
  }
}

TEST_P(KindsGoldenTest, WhatRunsOnlyAloneIsRefusedOtherwise) {
  Kitchen kitchen(GetParam().spec);
  RegisterAll(&kitchen);
  const auto refused = [](const char* problem, const char* why) {
    return StatusIs(absl::StatusCode::kFailedPrecondition,
                    AllOf(HasSubstr(problem), HasSubstr(why),
                          HasSubstr("only skill, at weight 1")));
  };
  for (const auto& [name, why] :
       {std::pair{"dora", "DoRA sets the norm"},
        std::pair{"ia3", "IA3 multiplies activations"}}) {
    EXPECT_THAT(kitchen.composer().Compose(Only(kitchen, name, 0.5f)),
                refused("a weight other than 1", why));
    EXPECT_THAT(kitchen.composer().Compose(
                    kitchen.MakeRecipe({{name, 1, {}}, {"adalora", 1, {}}})),
                refused("mixed with other adapters", why));
    const std::string module =
        GetParam().name == "llama" ? "**.v_proj" : "**.c_attn";
    EXPECT_THAT(kitchen.composer().Compose(
                    kitchen.MakeRecipe({{name, 1, {{module, 0.5f}}}})),
                refused("a weight other than 1", why));
    EXPECT_THAT(kitchen.composer().Compose(Only(kitchen, name)), IsOk());
  }
}

INSTANTIATE_TEST_SUITE_P(All, KindsGoldenTest,
                         ::testing::ValuesIn(ReadGoldens()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace stockpot
