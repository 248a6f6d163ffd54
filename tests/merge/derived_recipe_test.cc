// Recipes of every method from the registry to the logits: the same as those of
// the adapter that they merge to, uploaded as one.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "merge/adapter_factors.h"
#include "merge/recipe_merger.h"
#include "tests/merge/kitchen.h"
#include "tests/merge/merged_adapter.h"
#include "tests/testing/test_device.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::Kitchen;
using ::stockpot::testing::LoraConfig;
using ::stockpot::testing::MaxDifference;
using ::stockpot::testing::MergedAdapter;
using ::stockpot::testing::MethodsToServe;
using ::stockpot::testing::ModelDriver;
using ::stockpot::testing::Rows;
using ::stockpot::testing::StatusIs;
using ::stockpot::testing::TinyAdapterSpec;
using ::stockpot::testing::TinyGpt2;
using ::stockpot::testing::TinyLlama;
using ::stockpot::testing::TinyModelSpec;
using ::stockpot::testing::WeightedAdapter;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr float kTolerance = 1e-4f;

class DerivedRecipeTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override { SKIP_WITHOUT_TEST_DEVICE(); }

  bool is_llama() const { return GetParam(); }
  TinyModelSpec Spec() const { return is_llama() ? TinyLlama() : TinyGpt2(); }
  // One targets a part of what two does.
  TinyAdapterSpec One() const {
    return {.config = LoraConfig(
                4, 8,
                is_llama() ? nlohmann::ordered_json{"q_proj", "up_proj"}
                           : nlohmann::ordered_json{"c_attn"}),
            .seed = 1};
  }
  TinyAdapterSpec Two() const {
    return {.config = LoraConfig(
                4, 8,
                is_llama()
                    ? nlohmann::ordered_json{"q_proj", "up_proj", "down_proj"}
                    : nlohmann::ordered_json{"c_attn", "c_fc"}),
            .seed = 2};
  }
  const std::vector<int32_t> tokens_ = {5, 17, 3, 99, 42, 8, 61, 20, 77, 1};
};

// The composer orders skills by digest; so must the adapters merged by hand, or
// masks would go to the other one.
std::vector<WeightedAdapter> InOrder(const Kitchen& kitchen,
                                     const WeightedAdapter& one,
                                     const WeightedAdapter& two) {
  return kitchen.digest("one") < kitchen.digest("two")
             ? std::vector<WeightedAdapter>{one, two}
             : std::vector<WeightedAdapter>{two, one};
}

TEST_P(DerivedRecipeTest, LogitsEqualThoseOfTheMergedAdapter) {
  Kitchen kitchen(Spec());
  kitchen.Register("one", One());
  kitchen.Register("two", Two());
  const Rows base = kitchen.Run(Recipe(), tokens_);
  int index = 0;
  for (const MergeOptions& options : MethodsToServe()) {
    const std::string merged = absl::StrCat("merged", index++);
    kitchen.Register(merged,
                     MergedAdapter(InOrder(kitchen, {One(), 1}, {Two(), -0.75}),
                                   options, kitchen.model().modules()));
    const Recipe recipe =
        kitchen.MakeRecipe({{"one", 1, {}}, {"two", -0.75f, {}}}, options);
    const Rows rows = kitchen.Run(recipe, tokens_);
    EXPECT_LE(
        MaxDifference(
            rows, kitchen.Run(kitchen.MakeRecipe({{merged, 1, {}}}), tokens_)),
        kTolerance)
        << MethodText(options);
    EXPECT_GT(MaxDifference(rows, base), 0.01f) << MethodText(options);
  }
}

// Recipes of many kinds in one step: coefficients, one product, one adapter.
TEST_P(DerivedRecipeTest, AMixedBatchEqualsEachRecipeAlone) {
  Kitchen kitchen(Spec());
  kitchen.Register("one", One());
  kitchen.Register("two", Two());
  std::vector<std::shared_ptr<const Composition>> compositions;
  std::vector<Rows> alone;
  for (const MergeOptions& options : MethodsToServe()) {
    const Recipe recipe =
        kitchen.MakeRecipe({{"one", 0.5f, {}}, {"two", 1, {}}}, options);
    compositions.push_back(kitchen.Compose(recipe));
    alone.push_back(kitchen.Run(recipe, tokens_));
  }
  const auto& deltas = kitchen.pool().Prepare(compositions);
  ModelDriver driver(&kitchen.model());
  std::vector<int> ids;
  for (size_t i = 0; i < compositions.size(); ++i) {
    ids.push_back(driver.NewSequence());
  }
  for (size_t t = 0; t < tokens_.size(); ++t) {
    std::vector<ModelDriver::Feed> feeds;
    for (size_t i = 0; i < compositions.size(); ++i) {
      feeds.push_back({.sequence = ids[i],
                       .tokens = {tokens_[t]},
                       .mix = static_cast<int32_t>(i) + 1});
    }
    const auto rows = driver.Step(feeds, &deltas);
    ASSERT_THAT(rows, IsOk());
    for (size_t i = 0; i < compositions.size(); ++i) {
      EXPECT_LE(MaxDifference((*rows)[i], alone[i][t]), kTolerance)
          << MethodText(MethodsToServe()[i]);
    }
  }
}

TEST_P(DerivedRecipeTest, TheMergedAdapterIsAsPromised) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    Kitchen kitchen(Spec(), dtype);
    kitchen.Register("one", One());
    kitchen.Register("two", Two());
    RecipeMerger merger(&kitchen.model());
    for (const MergeOptions& options : MethodsToServe()) {
      if (!IsDerived(options)) continue;
      const Recipe recipe = kitchen.MakeRecipe(
          {{"one", 1, {}}, {"two", 1, {{"**", 0.5f}}}}, options);
      std::vector<std::shared_ptr<const Adapter>> adapters;
      for (const RecipeSkill& skill : recipe.skills()) {
        adapters.push_back(*kitchen.source().Load(skill.adapter));
      }
      const auto bytes = merger.MergedBytes(recipe, adapters);
      const auto adapter = merger.Merge(recipe, adapters, nullptr);
      ASSERT_THAT(adapter, IsOk()) << MethodText(options);
      EXPECT_EQ((*adapter)->digest, recipe.digest());
      EXPECT_LE((*adapter)->bytes, *bytes) << MethodText(options);
      int64_t held = 0;
      for (const ModuleFactors& m : (*adapter)->factors->modules) {
        EXPECT_EQ(m.a.scalar_type(), dtype);
        EXPECT_EQ((*adapter)->scales[m.module], 1);
        EXPECT_EQ((*adapter)->ranks[m.module], m.a.size(0));
        EXPECT_EQ(m.b.size(0), m.a.size(0));
        // Nothing larger is kept alive behind a view.
        held += static_cast<int64_t>(m.a.storage().nbytes() +
                                     m.b.storage().nbytes());
      }
      EXPECT_EQ(held, (*adapter)->bytes) << MethodText(options);
    }
  }
}

TEST_P(DerivedRecipeTest, UnequalRanksAreNamedAndNothingIsKept) {
  Kitchen kitchen(Spec());
  kitchen.Register("one", One());
  TinyAdapterSpec wide = Two();
  wide.config["r"] = 8;
  kitchen.Register("two", wide);
  for (const MergeOptions& options : MethodsToServe()) {
    const auto result = kitchen.composer().Compose(
        kitchen.MakeRecipe({{"one", 1, {}}, {"two", 1, {}}}, options));
    if (NeedsEqualRanks(options)) {
      EXPECT_THAT(result,
                  StatusIs(absl::StatusCode::kFailedPrecondition,
                           AllOf(HasSubstr(MethodName(options.method)),
                                 HasSubstr(is_llama() ? "q_proj" : "c_attn"),
                                 HasSubstr(" 4"), HasSubstr(" 8"),
                                 HasSubstr(kitchen.digest("one").ToString()))))
          << MethodText(options);
    } else {
      EXPECT_THAT(result, IsOk()) << MethodText(options);
    }
  }
}

TEST_P(DerivedRecipeTest, ARankBeyondTheBoundIsRefused) {
  Kitchen kitchen(Spec());
  std::vector<Kitchen::Skill> skills;
  for (int i = 0; i < 3; ++i) {
    TinyAdapterSpec spec = One();
    spec.config["r"] = 200;
    spec.seed = static_cast<uint64_t>(i);
    skills.push_back({absl::StrCat("skill", i), 1, {}});
    kitchen.Register(skills.back().adapter, spec);
  }
  EXPECT_THAT(
      kitchen.composer().Compose(kitchen.MakeRecipe(skills, {.pico = true})),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               AllOf(HasSubstr("600"), HasSubstr("512"))));
}

// Finite factors, weights and lambda whose product is not.
TEST_P(DerivedRecipeTest, AMergeThatOverflowsIsRefused) {
  Kitchen kitchen(Spec());
  auto tensors = TinyAdapterTensors(One(), kitchen.model().modules());
  for (auto& tensor : tensors) {
    tensor.bytes = ::stockpot::testing::EncodeFloats(
        std::vector<float>(tensor.bytes.size() / 4, 3e38f), Dtype::kF32);
  }
  kitchen.Register("huge", {One().config.dump(),
                            ::stockpot::testing::SafetensorsFile(tensors)});
  const Recipe recipe = kitchen.MakeRecipe(
      {{"huge", 100, {}}}, {.method = MergeMethod::kMagnitudePrune,
                            .space = MergeSpace::kFactors,
                            .lambda = 100});
  EXPECT_THAT(kitchen.composer().Compose(recipe),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("not finite"), HasSubstr("module"))));
  EXPECT_EQ(kitchen.composer().AdapterStats().pinned_charge, 0);
}

TEST_P(DerivedRecipeTest, AMergeStopsBetweenModules) {
  Kitchen kitchen(Spec());
  kitchen.Register("one", One());
  kitchen.Register("two", Two());
  // A method without blocks of rows: asked once for each module.
  const Recipe recipe = kitchen.MakeRecipe({{"one", 1, {}}, {"two", 1, {}}},
                                           {.method = MergeMethod::kSvd});
  int asked = 0;
  EXPECT_THAT(kitchen.composer().Compose(recipe, [&] { return ++asked == 3; }),
              StatusIs(absl::StatusCode::kCancelled, HasSubstr("module")));
  EXPECT_EQ(asked, 3);
  EXPECT_EQ(kitchen.composer().AdapterStats().reserved, 0);
  EXPECT_THAT(kitchen.composer().Compose(recipe), IsOk());
}

INSTANTIATE_TEST_SUITE_P(All, DerivedRecipeTest, ::testing::Bool(),
                         [](const auto& info) {
                           return info.param ? "llama" : "gpt2";
                         });

}  // namespace
}  // namespace stockpot
