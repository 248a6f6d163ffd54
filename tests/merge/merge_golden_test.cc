// Recipes from the registry to the logits, against PEFT's
// (tests/golden/make_model_goldens.py) and against each other.

#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/sha256.h"
#include "merge/adapter_factors.h"
#include "model/base_model.h"
#include "tests/merge/kitchen.h"
#include "tests/testing/model_driver.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/test_device.h"
#include "tests/testing/tiny_adapter.h"
#include "tests/testing/tiny_model.h"

namespace stockpot {
namespace {

using ::nlohmann::ordered_json;
using ::stockpot::testing::EncodeFloats;
using ::stockpot::testing::IsOk;
using ::stockpot::testing::Kitchen;
using ::stockpot::testing::LoraConfig;
using ::stockpot::testing::MakeTinyAdapter;
using ::stockpot::testing::MaxDifference;
using ::stockpot::testing::ModelDriver;
using ::stockpot::testing::RawTensor;
using ::stockpot::testing::ReadFloats;
using ::stockpot::testing::ReadJson;
using ::stockpot::testing::Rows;
using ::stockpot::testing::SafetensorsFile;
using ::stockpot::testing::StatusIs;
using ::stockpot::testing::TinyAdapter;
using ::stockpot::testing::TinyAdapterSpec;
using ::stockpot::testing::TinyAdapterTensors;
using ::stockpot::testing::TinyGpt2;
using ::stockpot::testing::TinyLlama;
using ::stockpot::testing::TinyModelSpec;
using ::testing::HasSubstr;

constexpr float kTolerance = 1e-4f;
const char kGoldens[] = STOCKPOT_SOURCE_DIR "/tests/golden/model/recipes";

struct GoldenRecipe {
  std::string name;
  std::vector<Kitchen::Skill> skills;
  Rows logits;  // [tokens][vocab]
};

struct GoldenBase {
  std::string name;
  TinyModelSpec spec;
  std::vector<int32_t> tokens;
  Rows base_logits;
  std::vector<std::pair<std::string, TinyAdapterSpec>> adapters;
  std::vector<GoldenRecipe> recipes;

  void RegisterAll(Kitchen* kitchen) const {
    for (const auto& [adapter, adapter_spec] : adapters) {
      kitchen->Register(adapter, adapter_spec);
    }
  }
};

Rows Split(const std::vector<float>& flat, size_t vocab) {
  Rows rows;
  for (size_t i = 0; i < flat.size(); i += vocab) {
    rows.emplace_back(flat.begin() + i, flat.begin() + i + vocab);
  }
  return rows;
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
    base.spec.dtype = *DtypeFromName(b.at("dtype").get<std::string>());
    base.tokens = b.at("tokens").get<std::vector<int32_t>>();
    const size_t vocab = b.at("config").at("vocab_size");
    base.base_logits = Split(tensors.at(b.at("base_logits")), vocab);
    for (const ordered_json& a : b.at("adapters")) {
      base.adapters.push_back(
          {a.at("name"),
           {.config = a.at("config"),
            .seed = a.at("seed"),
            .dtype = *DtypeFromName(a.at("dtype").get<std::string>())}});
    }
    for (const ordered_json& r : b.at("recipes")) {
      GoldenRecipe recipe{
          r.at("name"), {}, Split(tensors.at(r.at("logits")), vocab)};
      for (const ordered_json& s : r.at("skills")) {
        Kitchen::Skill skill{s.at("adapter"), s.at("weight"), {}};
        for (const ordered_json& m : s.at("module_weights")) {
          skill.module_weights.push_back({m.at("pattern"), m.at("weight")});
        }
        recipe.skills.push_back(std::move(skill));
      }
      base.recipes.push_back(std::move(recipe));
    }
    bases.push_back(std::move(base));
  }
  return bases;
}

class MergeGoldenTest : public ::testing::TestWithParam<GoldenBase> {
 protected:
  void SetUp() override { SKIP_WITHOUT_TEST_DEVICE(); }
};

TEST_P(MergeGoldenTest, LogitsUnderEveryRecipeEqualPefts) {
  Kitchen kitchen(GetParam().spec);
  GetParam().RegisterAll(&kitchen);
  for (const GoldenRecipe& golden : GetParam().recipes) {
    const Recipe recipe = kitchen.MakeRecipe(golden.skills);
    EXPECT_LE(
        MaxDifference(kitchen.Run(recipe, GetParam().tokens), golden.logits),
        kTolerance)
        << golden.name << " token by token";
    const Rows prefill = kitchen.Run(recipe, GetParam().tokens, 1000);
    EXPECT_LE(MaxDifference(prefill.back(), golden.logits.back()), kTolerance)
        << golden.name << " in one step";
  }
}

// Runs sequences over `tokens` in one batch, each with its row of `deltas`; the
// first and the last are the base's.
void ExpectMixedBatch(Kitchen* kitchen, const DeltaSet& deltas,
                      const std::vector<int32_t>& tokens,
                      const std::vector<const Rows*>& expected) {
  ModelDriver driver(&kitchen->model());
  std::vector<int> ids;
  std::vector<size_t> done(expected.size(), 0);
  for (size_t s = 0; s < expected.size(); ++s) {
    ids.push_back(driver.NewSequence());
  }
  for (size_t step = 0;; ++step) {
    std::vector<ModelDriver::Feed> feeds;
    std::vector<size_t> who;
    for (size_t s = 0; s < expected.size(); ++s) {
      // Sequence s starts with a prefill of s + 1 tokens, then decodes.
      if (step < s % 4 || done[s] == tokens.size()) continue;
      const size_t n = done[s] > 0 ? 1 : std::min(2 * s + 1, tokens.size());
      const auto first = tokens.begin() + static_cast<int64_t>(done[s]);
      const bool is_base = s == 0 || s + 1 == expected.size();
      feeds.push_back({.sequence = ids[s],
                       .tokens = {first, first + static_cast<int64_t>(n)},
                       .mix = is_base ? 0 : static_cast<int32_t>(s)});
      done[s] += n;
      who.push_back(s);
    }
    if (feeds.empty()) break;
    const auto rows = driver.Step(feeds, &deltas);
    ASSERT_THAT(rows, IsOk());
    for (size_t i = 0; i < who.size(); ++i) {
      const size_t s = who[i];
      EXPECT_LE(MaxDifference((*rows)[i], (*expected[s])[done[s] - 1]),
                kTolerance)
          << "sequence " << s << " position " << done[s] - 1;
    }
  }
}

// Every recipe and two base rows in one batch, at different positions.
TEST_P(MergeGoldenTest, AMixedBatchEqualsEachRecipeAlone) {
  Kitchen kitchen(GetParam().spec);
  GetParam().RegisterAll(&kitchen);
  std::vector<std::shared_ptr<const Composition>> compositions;
  std::vector<const Rows*> expected = {&GetParam().base_logits};
  for (const GoldenRecipe& golden : GetParam().recipes) {
    compositions.push_back(kitchen.Compose(kitchen.MakeRecipe(golden.skills)));
    expected.push_back(&golden.logits);
  }
  expected.push_back(&GetParam().base_logits);
  for (SkillPool* pool : {&kitchen.pool(), &kitchen.stacked_pool()}) {
    ExpectMixedBatch(&kitchen, pool->Prepare(compositions), GetParam().tokens,
                     expected);
  }
}

TEST_P(MergeGoldenTest, TheEmptyRecipeIsTheBaseBitForBit) {
  Kitchen kitchen(GetParam().spec);
  GetParam().RegisterAll(&kitchen);
  const std::vector<int32_t>& tokens = GetParam().tokens;
  const Recipe zero =
      kitchen.MakeRecipe({{GetParam().adapters[0].first, 0, {}}});
  for (const int64_t chunk : {1, 1000}) {
    ModelDriver base(&kitchen.model());
    const Rows plain = *base.Run(tokens, chunk);
    EXPECT_LE(MaxDifference(plain.back(), GetParam().base_logits.back()),
              kTolerance);
    EXPECT_EQ(kitchen.Run(Recipe(), tokens, chunk), plain);
    EXPECT_EQ(kitchen.Run(zero, tokens, chunk), plain);
    // Also while others' skills are in the pool: row 0 adds exact zeros.
    const auto composition =
        kitchen.Compose(kitchen.MakeRecipe(GetParam().recipes.back().skills));
    ModelDriver mixed(&kitchen.model());
    EXPECT_EQ(*mixed.Run(tokens, chunk, &kitchen.pool().Prepare({composition}),
                         /*mix=*/0),
              plain);
  }
}

TEST_P(MergeGoldenTest, Bfloat16FollowsTheReference) {
  Kitchen kitchen(GetParam().spec, at::kBFloat16);
  GetParam().RegisterAll(&kitchen);
  for (const GoldenRecipe& golden : GetParam().recipes) {
    const Rows rows =
        kitchen.Run(kitchen.MakeRecipe(golden.skills), GetParam().tokens);
    double sum = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      for (size_t k = 0; k < rows[i].size(); ++k) {
        sum += std::abs(rows[i][k] - golden.logits[i][k]);
      }
    }
    // The recipes move the base's logits by several units (golden script).
    EXPECT_LE(sum / static_cast<double>(rows.size() * rows[0].size()), 0.06)
        << golden.name;
    EXPECT_LE(MaxDifference(rows, golden.logits), 0.6f) << golden.name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, MergeGoldenTest,
                         ::testing::ValuesIn(ReadGoldens()),
                         [](const auto& info) { return info.param.name; });

class MergeTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override { SKIP_WITHOUT_TEST_DEVICE(); }

  bool is_llama() const { return GetParam(); }
  TinyModelSpec Spec() const { return is_llama() ? TinyLlama() : TinyGpt2(); }
  ordered_json Targets() const {
    return is_llama() ? ordered_json{"q_proj", "o_proj", "up_proj"}
                      : ordered_json{"c_attn", "c_fc"};
  }
  TinyAdapterSpec Adapter(uint64_t seed, int64_t rank = 4) const {
    return {.config = LoraConfig(rank, 8, Targets()), .seed = seed};
  }
  const std::vector<int32_t> tokens_ = {5, 17, 3, 99, 42, 8, 61, 20, 77,
                                        1, 30, 9, 12, 54, 2, 88, 6,  70};
};

// The same weights under two digests, so that nothing cancels on paper.
TEST_P(MergeTest, OppositeWeightsCancel) {
  Kitchen kitchen(Spec());
  kitchen.Register("a", Adapter(1));
  TinyAdapterSpec twin = Adapter(1);
  twin.config["base_model_name_or_path"] = "elsewhere";
  kitchen.Register("twin", twin);
  ASSERT_NE(kitchen.digest("a"), kitchen.digest("twin"));
  const Rows base = kitchen.Run(Recipe(), tokens_);
  const Recipe recipe =
      kitchen.MakeRecipe({{"a", 1.5f, {}}, {"twin", -1.5f, {}}});
  ASSERT_EQ(recipe.skills().size(), 2);
  EXPECT_LE(MaxDifference(kitchen.Run(recipe, tokens_), base), kTolerance);
  EXPECT_GT(
      MaxDifference(kitchen.Run(kitchen.MakeRecipe({{"a", 1.5f, {}}}), tokens_),
                    base),
      0.5f);
}

TEST_P(MergeTest, AModuleWeightOfZeroKeepsTheSkillOutOfThatModule) {
  Kitchen kitchen(Spec());
  kitchen.Register("whole", Adapter(1));
  const std::string left_out = is_llama() ? "o_proj" : "c_fc";
  TinyAdapterSpec less = Adapter(1);
  ordered_json targets = ordered_json::array();
  for (const auto& target : Targets()) {
    if (target != left_out) targets.push_back(target);
  }
  less.config["target_modules"] = targets;
  kitchen.Register("less", less);
  EXPECT_EQ(
      kitchen.Run(kitchen.MakeRecipe({{"whole", 1, {{"**." + left_out, 0}}}}),
                  tokens_),
      kitchen.Run(kitchen.MakeRecipe({{"less", 1, {}}}), tokens_));
}

// An adapter whose values are finite and whose products are not, not even the
// first one with A.
TinyAdapter Overflowing(const TinyAdapterSpec& spec,
                        absl::Span<const BaseModule> modules, float value) {
  std::vector<RawTensor> tensors = TinyAdapterTensors(spec, modules);
  for (RawTensor& tensor : tensors) {
    const std::vector<float> values(
        tensor.bytes.size() / DtypeBytes(tensor.dtype), value);
    tensor.bytes = EncodeFloats(values, tensor.dtype);
  }
  return {spec.config.dump(), SafetensorsFile(tensors)};
}

TEST_P(MergeTest, AnOverflowingSkillDoesNotDisturbItsNeighbours) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    Kitchen kitchen(Spec(), dtype);
    kitchen.Register("good", Adapter(1));
    kitchen.Register("bad",
                     Overflowing(Adapter(2), kitchen.model().modules(), 3e38f));
    const Recipe good = kitchen.MakeRecipe({{"good", 1, {}}});
    const Recipe bad = kitchen.MakeRecipe({{"bad", 1, {}}});
    const Rows good_alone = kitchen.Run(good, tokens_);
    const Rows base_alone = kitchen.Run(Recipe(), tokens_);

    const auto compositions =
        std::vector{kitchen.Compose(bad), kitchen.Compose(good)};
    const DeltaSet& deltas = kitchen.pool().Prepare(compositions);
    ModelDriver driver(&kitchen.model());
    const int ids[] = {driver.NewSequence(), driver.NewSequence(),
                       driver.NewSequence()};
    const float tolerance = dtype == at::kFloat ? kTolerance : 0.1f;
    bool overflowed = false;
    for (size_t i = 0; i < tokens_.size(); ++i) {
      const auto rows =
          driver.Step({ModelDriver::Feed{ids[0], {tokens_[i]}, 1, true},
                       ModelDriver::Feed{ids[1], {tokens_[i]}, 2, true},
                       ModelDriver::Feed{ids[2], {tokens_[i]}, 0, true}},
                      &deltas);
      ASSERT_THAT(rows, IsOk());
      for (const float x : (*rows)[0]) overflowed |= !std::isfinite(x);
      EXPECT_LE(MaxDifference((*rows)[1], good_alone[i]), tolerance);
      EXPECT_LE(MaxDifference((*rows)[2], base_alone[i]), tolerance);
    }
    EXPECT_TRUE(overflowed);
  }
}

// As infinity it would make NaN of every row of the batch: 0 * inf.
TEST_P(MergeTest, ValuesBeyondTheDtypeToRunInAreRefused) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    Kitchen kitchen(Spec(), dtype);
    kitchen.Register(
        "huge", Overflowing(Adapter(2), kitchen.model().modules(), 3.4e38f));
    const auto result =
        kitchen.composer().Compose(kitchen.MakeRecipe({{"huge", 1, {}}}));
    if (dtype == at::kFloat) {
      EXPECT_THAT(result, IsOk());
    } else {
      EXPECT_THAT(result, StatusIs(absl::StatusCode::kInvalidArgument,
                                   HasSubstr("lora_")));
    }
  }
}

TEST_P(MergeTest, AnAdapterThatIsNotThereIsNotFound) {
  Kitchen kitchen(Spec());
  const auto recipe = Recipe::Create(
      std::vector<SkillSpec>{{Sha256::Of("nobody"), 1, {}}}, MergeOptions(),
      kitchen.model().modules(), kitchen.model().digest());
  ASSERT_THAT(recipe, IsOk());
  EXPECT_THAT(kitchen.composer().Compose(*recipe),
              StatusIs(absl::StatusCode::kNotFound, ::testing::_));
}

TEST_P(MergeTest, ResidentBytesAreKnownBeforeLoading) {
  for (const Dtype file : {Dtype::kF32, Dtype::kF16, Dtype::kBF16}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      Kitchen kitchen(Spec(), dtype);
      TinyAdapterSpec spec = Adapter(1);
      spec.dtype = file;
      kitchen.Register("a", spec);
      const auto bytes = kitchen.source().ResidentBytes(kitchen.digest("a"));
      const auto adapter = kitchen.source().Load(kitchen.digest("a"));
      ASSERT_THAT(bytes, IsOk());
      ASSERT_THAT(adapter, IsOk());
      EXPECT_GE(*bytes, (*adapter)->bytes);
      int64_t values = 0;
      for (const ModuleFactors& m : (*adapter)->factors->modules) {
        values += m.a.numel() + m.b.numel();
      }
      EXPECT_EQ((*adapter)->bytes, values * (dtype == at::kFloat ? 4 : 2));
    }
  }
}

TEST_P(MergeTest, ThePoolIsRebuiltOnlyWhenItMust) {
  Kitchen kitchen(Spec());
  for (int i = 1; i <= 3; ++i) {
    kitchen.Register(std::string(1, static_cast<char>('a' + i)), Adapter(i, i));
  }
  const auto compose = [&](const std::vector<Kitchen::Skill>& skills) {
    return kitchen.Compose(kitchen.MakeRecipe(skills));
  };
  SkillPool& pool = kitchen.stacked_pool();
  const auto both = compose({{"b", 1, {}}, {"c", 1, {}}});
  const void* factors = pool.Prepare({both})[0].stacked.a.data_ptr();
  const int64_t bytes = pool.bytes();
  EXPECT_GT(bytes, 0);
  // Other recipes over the same adapters, one of them alone, none new.
  const auto more_b = compose({{"b", 2, {}}});
  const auto other = compose({{"b", -1, {}}, {"c", 0.5f, {}}});
  EXPECT_EQ(pool.Prepare({other, both})[0].stacked.a.data_ptr(), factors);
  const StackedDelta& alone = pool.Prepare({more_b})[0].stacked;
  EXPECT_EQ(alone.a.data_ptr(), factors);
  EXPECT_EQ(alone.expand.size(0), 2);
  EXPECT_EQ(alone.expand[0].abs().sum().item<float>(), 0);
  EXPECT_EQ(pool.bytes(), bytes);
  // A new adapter, then less than half of what is there.
  const auto three = compose({{"b", 1, {}}, {"c", 1, {}}, {"d", 1, {}}});
  EXPECT_EQ(pool.Prepare({three})[0].stacked.a.size(0), 1 + 2 + 3);
  EXPECT_EQ(pool.Prepare({more_b})[0].stacked.a.size(0), 1);
  EXPECT_TRUE(pool.Prepare({})[0].empty());
}

TEST_P(MergeTest, OnTheCpuAStepBorrowsTheAdaptersOfItsRecipes) {
  Kitchen kitchen(Spec());
  kitchen.Register("b", Adapter(1, 1));
  kitchen.Register("c", Adapter(2, 2));
  SkillPool& pool = kitchen.pool();
  const auto both =
      kitchen.Compose(kitchen.MakeRecipe({{"b", 1, {}}, {"c", 3, {}}}));
  const auto one = kitchen.Compose(kitchen.MakeRecipe({{"b", 2, {}}}));
  const ModuleDelta& delta = pool.Prepare({one, both})[0];
  EXPECT_EQ(pool.bytes(), 0);
  ASSERT_EQ(delta.skills.size(), 2u);
  ASSERT_EQ(delta.shares.size(), 3 * 2u);
  const auto& skill = one->skills[0];
  EXPECT_EQ(delta.skills[0].a.data_ptr(),
            skill.adapter->factors->modules[0].a.data_ptr());
  EXPECT_EQ(delta.shares[0].expand, 0);
  EXPECT_EQ(delta.shares[2].expand, (*skill.coefficients)[0]);
  EXPECT_EQ(delta.shares[3].expand, 0);
  EXPECT_NE(delta.shares[5].expand, 0);
  pool.Rest();
  EXPECT_TRUE(pool.Prepare({})[0].empty());
}

INSTANTIATE_TEST_SUITE_P(All, MergeTest, ::testing::Bool(),
                         [](const auto& info) {
                           return info.param ? "llama" : "gpt2";
                         });

}  // namespace
}  // namespace stockpot
