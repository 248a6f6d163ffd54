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
#include "tests/merge/golden_bases.h"
#include "tests/merge/kitchen.h"
#include "tests/testing/model_driver.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/test_device.h"

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
using ::stockpot::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr float kTolerance = 1e-4f;
const char kGoldens[] = STOCKPOT_SOURCE_DIR "/tests/golden/model/kinds";

class KindsGoldenTest : public ::testing::TestWithParam<GoldenBase> {
 protected:
  void SetUp() override { SKIP_WITHOUT_TEST_DEVICE(); }

  static Recipe Only(const Kitchen& kitchen, const std::string& name,
                     float weight = 1) {
    return kitchen.MakeRecipe({{name, weight, {}}});
  }
};

TEST_P(KindsGoldenTest, EveryKindAloneEqualsPeft) {
  Kitchen kitchen(GetParam().spec);
  RegisterAll(GetParam(), &kitchen);
  ExpectEachAloneEqualsPeft(GetParam(), kTolerance, &kitchen);
}

TEST_P(KindsGoldenTest, BiasesAddUpByWeight) {
  Kitchen kitchen(GetParam().spec);
  RegisterAll(GetParam(), &kitchen);
  ExpectMixesFollowTheFormula(GetParam(), kTolerance, &kitchen);
}

TEST_P(KindsGoldenTest, AMixedBatchEqualsEachAlone) {
  Kitchen kitchen(GetParam().spec);
  RegisterAll(GetParam(), &kitchen);
  ExpectOneBatchEqualsEachAlone(GetParam(), kTolerance, &kitchen);
}

TEST_P(KindsGoldenTest, ABaseRowBesideEveryKindIsTheBaseBitForBit) {
  Kitchen kitchen(GetParam().spec);
  RegisterAll(GetParam(), &kitchen);
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
  RegisterAll(GetParam(), &kitchen);
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
  RegisterAll(GetParam(), &kitchen);
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
  RegisterAll(GetParam(), &kitchen);
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
                         ::testing::ValuesIn(ReadGoldens(kGoldens)),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace stockpot
