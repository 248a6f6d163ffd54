#include "merge/recipe.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/sha256.h"
#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

Digest Named(const std::string& name) { return Sha256::Of(name); }

const Digest kBase = Named("base");

// layers.{0,1}.{attn.q,attn.v,mlp}, lm_head
std::vector<BaseModule> Modules() {
  std::vector<BaseModule> modules;
  for (int i = 0; i < 2; ++i) {
    for (const char* name : {"attn.q", "attn.v", "mlp"}) {
      modules.push_back({absl::StrCat("layers.", i, ".", name), 8, 8, false});
    }
  }
  modules.push_back({"lm_head", 8, 16, true});
  return modules;
}

absl::StatusOr<Recipe> TryMake(const std::vector<SkillSpec>& skills) {
  return Recipe::Create(skills, MergeOptions(), Modules(), kBase);
}

Recipe Make(const std::vector<SkillSpec>& skills) {
  absl::StatusOr<Recipe> recipe = TryMake(skills);
  EXPECT_THAT(recipe, IsOk());
  return recipe.ok() ? *recipe : Recipe();
}

const SkillSpec kA = {Named("a"), 0.5f, {}};
const SkillSpec kB = {Named("b"), -2, {}};

auto IsInvalid(const std::string& part) {
  return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(part));
}

TEST(RecipeTest, OrderDoesNotChangeTheDigest) {
  const Recipe ab = Make({kA, kB});
  const Recipe ba = Make({kB, kA});
  EXPECT_EQ(ab.digest(), ba.digest());
  ASSERT_EQ(ab.skills().size(), 2);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(ab.skills()[i].adapter, ba.skills()[i].adapter);
    EXPECT_EQ(ab.skills()[i].weights, ba.skills()[i].weights);
  }
  EXPECT_LT(ab.skills()[0].adapter, ab.skills()[1].adapter);
}

TEST(RecipeTest, ZeroWeightsAreDropped) {
  const Digest alone = Make({kA}).digest();
  EXPECT_EQ(Make({kA, {Named("b"), 0, {}}}).digest(), alone);
  EXPECT_EQ(Make({kA, {Named("b"), -0.0f, {}}}).digest(), alone);
  EXPECT_EQ(Make({kA, {Named("b"), 1, {{"**", 0}}}}).digest(), alone);
  EXPECT_EQ(Make({kA, {Named("b"), 3, {}}, {Named("b"), -3, {}}}).digest(),
            alone);
}

TEST(RecipeTest, ARecipeOfZerosIsTheBase) {
  EXPECT_TRUE(Make({}).is_base());
  EXPECT_TRUE(Make({{Named("a"), 0, {}}}).is_base());
  EXPECT_EQ(Make({}).digest(), Make({{Named("a"), 0, {}}}).digest());
  EXPECT_TRUE(Recipe().is_base());
  EXPECT_FALSE(Make({kA}).is_base());
}

TEST(RecipeTest, RepeatedSkillsAreAddedUp) {
  const Digest once = Make({{Named("a"), 2, {}}, kB}).digest();
  EXPECT_EQ(Make({{Named("a"), 1.5f, {}}, kB, {Named("a"), 0.5f, {}}}).digest(),
            once);
  // Also where their modules differ.
  EXPECT_EQ(
      Make({{Named("a"), 1, {{"**.mlp", 0}}}, {Named("a"), 1, {}}}).digest(),
      Make({{Named("a"), 2, {{"**.mlp", 0.5f}}}}).digest());
}

TEST(RecipeTest, OrderOfRepeatedSkillsDoesNotShow) {
  // Float64 loses another part of the small ones in each order.
  std::vector<float> weights = {100,    -100,    1e-20f, 1e-9f, 33.3f,
                                -33.3f, -7e-12f, 0.1f,   -0.1f, 1e-30f};
  std::mt19937 random(3);
  const auto make = [&] {
    std::vector<SkillSpec> skills;
    for (const float w : weights) skills.push_back({Named("a"), w, {}});
    return Make(skills);
  };
  const Recipe first = make();
  for (int i = 0; i < 50; ++i) {
    std::shuffle(weights.begin(), weights.end(), random);
    const Recipe again = make();
    ASSERT_EQ(again.digest(), first.digest());
    ASSERT_EQ(again.skills()[0].weights, first.skills()[0].weights);
  }
}

TEST(RecipeTest, EquivalentSpellingsOfModuleWeightsAreOneRecipe) {
  const Digest expected =
      Make({{Named("a"),
             1,
             {{"layers.0.attn.q", 0.5f}, {"layers.1.attn.q", 0.5f}}}})
          .digest();
  for (const std::vector<ModuleWeight>& spelling :
       std::vector<std::vector<ModuleWeight>>{
           {{"layers.*.attn.q", 0.5f}},
           {{"**.q", 0.5f}},
           {{"layers.{0,1}.attn.q", 0.5f}},
           {{"layers.?.attn.q", 0.5f}},
           {{"**", 0.5f}, {"**.{v,mlp}", 1}, {"lm_head", 1}},
           {{"**.q", 7}, {"layers.*.attn.q", 0.5f}}}) {
    EXPECT_EQ(Make({{Named("a"), 1, spelling}}).digest(), expected)
        << spelling[0].pattern;
  }
  // The product of the two weights counts.
  EXPECT_EQ(Make({{Named("a"), 2, {{"**", 0.5f}, {"**.q", 0.25f}}}}).digest(),
            expected);
}

TEST(RecipeTest, LastMatchWinsAndTheRestKeepsTheSkillsWeight) {
  const Recipe recipe =
      Make({{Named("a"), 2, {{"layers.0.**", 3}, {"layers.0.attn.v", -1}}}});
  ASSERT_EQ(recipe.skills().size(), 1);
  EXPECT_THAT(recipe.skills()[0].weights, ElementsAre(6, -2, 6, 2, 2, 2, 2));
}

TEST(RecipeTest, EveryPartOfTheMeaningChangesTheDigest) {
  const Digest digest = Make({kA, kB}).digest();
  EXPECT_NE(Make({kA}).digest(), digest);
  EXPECT_NE(Make({kA, {Named("c"), -2, {}}}).digest(), digest);
  EXPECT_NE(Make({kA, {Named("b"), 2, {}}}).digest(), digest);
  EXPECT_NE(Make({kA, {Named("b"), std::nextafter(-2.0f, 0.0f), {}}}).digest(),
            digest);
  EXPECT_NE(Make({kA, {Named("b"), -2, {{"lm_head", 0.5f}}}}).digest(), digest);
  // Weights swapped between the skills.
  EXPECT_NE(Make({{Named("a"), -2, {}}, {Named("b"), 0.5f, {}}}).digest(),
            digest);
  const auto other_base =
      Recipe::Create(std::vector<SkillSpec>{kA, kB}, MergeOptions(), Modules(),
                     Named("another base"));
  ASSERT_THAT(other_base, IsOk());
  EXPECT_NE(other_base->digest(), digest);
}

TEST(RecipeTest, SixtyFourSkillsAreAcceptedAndSixtyFiveRefused) {
  std::vector<SkillSpec> skills;
  for (int i = 0; i < 64; ++i) {
    skills.push_back({Named(absl::StrCat(i)), 1, {}});
  }
  EXPECT_EQ(Make(skills).skills().size(), 64);
  skills.push_back({Named("one more"), 1, {}});
  EXPECT_THAT(TryMake(skills),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("65"), HasSubstr("64"))));
  // Also when they would add up to nothing.
  for (SkillSpec& skill : skills) skill.weight = 0;
  EXPECT_THAT(TryMake(skills), IsInvalid("65"));
}

TEST(RecipeTest, WeightsThatAreNotFiniteOrTooLargeAreNamed) {
  EXPECT_THAT(TryMake({{Named("a"), 100, {}}, {Named("b"), -100, {}}}), IsOk());
  for (const float bad : {kNan, -kNan, kInf, -kInf, 1e30f, -1e30f,
                          std::nextafter(100.0f, kInf)}) {
    EXPECT_THAT(TryMake({kA, {Named("b"), bad, {}}}),
                IsInvalid("recipe.skills[1].weight"));
    EXPECT_THAT(TryMake({kA, {Named("b"), 1, {{"**", 1}, {"**.q", bad}}}}),
                IsInvalid("recipe.skills[1].module_weights[1].weight"));
  }
}

TEST(RecipeTest, APatternThatMatchesNothingIsAnError) {
  for (const char* pattern :
       {"layers.2.attn.q", "q", "layers.*", "Layers.0.mlp", "lm_head "}) {
    EXPECT_THAT(
        TryMake({{Named("a"), 1, {{pattern, 1}}}}),
        StatusIs(absl::StatusCode::kInvalidArgument,
                 AllOf(HasSubstr("recipe.skills[0].module_weights[0]"),
                       HasSubstr(pattern), HasSubstr("layers.0.attn.q"))));
  }
}

TEST(RecipeTest, ABadPatternIsAnError) {
  for (const std::string& pattern :
       {std::string(), std::string("{a"), std::string("a}"),
        std::string("{a{b}}"), std::string(10'000, '*'),
        std::string(257, 'a')}) {
    EXPECT_THAT(TryMake({{Named("a"), 1, {{pattern, 1}}}}),
                IsInvalid("module_weights[0]"))
        << pattern.substr(0, 20);
  }
}

TEST(RecipeTest, NumberOfModuleWeightsIsBounded) {
  SkillSpec skill = {Named("a"), 1, {}};
  skill.module_weights.assign(4096, {"lm_head", 0.5f});
  EXPECT_THAT(TryMake({skill}), IsOk());
  skill.module_weights.push_back({"lm_head", 0.5f});
  EXPECT_THAT(TryMake({skill}), IsInvalid("4096"));
}

TEST(RecipeTest, WorkOfWildcardsIsBounded) {
  // Each is fine; together they would cost a megabyte per module.
  SkillSpec skill = {Named("a"), 1, {}};
  skill.module_weights.assign(4096, {"**" + std::string(200, '*') + "q", 1});
  EXPECT_THAT(TryMake({skill}), IsInvalid("wildcard"));
}

absl::StatusOr<Recipe> TryMethod(const MergeOptions& options) {
  return Recipe::Create(std::vector<SkillSpec>{kA, kB}, options, Modules(),
                        kBase);
}

Digest DigestOf(const MergeOptions& options) {
  const auto recipe = TryMethod(options);
  EXPECT_THAT(recipe, IsOk());
  return recipe.ok() ? recipe->digest() : Digest();
}

TEST(RecipeTest, NothingByAnyMethodIsTheBase) {
  for (const MergeMethod method : AllMethods()) {
    const auto recipe =
        Recipe::Create({}, {.method = method}, Modules(), kBase);
    ASSERT_THAT(recipe, IsOk());
    EXPECT_TRUE(recipe->is_base());
    EXPECT_EQ(recipe->digest(), Make({}).digest());
  }
}

// Keys of caches, and what clients may have written down.
TEST(RecipeTest, DigestsOfCatStayWhatTheyWere) {
  EXPECT_EQ(Make({kA, kB}).digest().ToHex(),
            "d0ed266af6bfe9074fedc707efa6cc7a9bcb56d4ede45c36588f4085fc9cec11");
}

TEST(RecipeTest, MethodsHaveTheirNames) {
  std::vector<std::string> names;
  for (const MergeMethod method : AllMethods()) {
    names.push_back(MethodName(method));
  }
  EXPECT_THAT(
      names, ElementsAre("cat", "linear", "lorahub", "svd", "magnitude_prune",
                         "ties", "dare", "della", "breadcrumbs", "knots", "tsv",
                         "iso", "compress_then_merge"));
  EXPECT_STREQ(MethodName(static_cast<MergeMethod>(77)), "unknown");
}

TEST(RecipeTest, MethodTextNamesWhatTheMethodReads) {
  EXPECT_EQ(MethodText({.density = 0.3f, .seed = 7}), "cat");
  EXPECT_EQ(MethodText({.pico = true}), "cat(pico=true)");
  EXPECT_EQ(MethodText({.method = MergeMethod::kLinear, .rank = 9}), "linear");
  EXPECT_EQ(MethodText({.method = MergeMethod::kSvd, .rank = 9}),
            "svd(rank=9)");
  EXPECT_EQ(MethodText({.method = MergeMethod::kTies,
                        .dialect = MergeDialect::kMergekit,
                        .density = 0.3f,
                        .lambda = 0.5f}),
            "ties(density=0.3,sign_election=total,space=delta,"
            "dialect=mergekit,rank=largest,lambda=0.5)");
  EXPECT_EQ(MethodText({.method = MergeMethod::kDare,
                        .space = MergeSpace::kFactors,
                        .seed = 12}),
            "dare(density=0.5,elect_signs=false,seed=12,space=factors,"
            "lambda=1)");
  EXPECT_EQ(MethodText({.method = MergeMethod::kKnots}),
            "knots(rule=ties,density=0.5,sign_election=total,rank=largest,"
            "lambda=1)");
  const MergeOptions compress = {.method = MergeMethod::kCompressThenMerge};
  EXPECT_EQ(MethodText(compress),
            "compress_then_merge(rule=ties,density=0.5,sign_election=total,"
            "rank=largest,lambda=1)");
  MergeOptions even = compress;
  even.beta = 0.25f;
  EXPECT_EQ(MethodText(even),
            "compress_then_merge(rule=ties,density=0.5,sign_election=total,"
            "rank=largest,lambda=1,beta=0.25)");
}

TEST(RecipeTest, BetaOfOneLeavesTheDigestThatWasBeforeIt) {
  const MergeOptions compress = {.method = MergeMethod::kCompressThenMerge};
  EXPECT_EQ(DigestOf(compress).ToHex(),
            "a22b11af67b5506897dd800b3dcdbc299d87d35e0c423efb3f612ff95b717e21");
}

// One change of each field, all within bounds for every method.
std::vector<MergeOptions> ChangedByOne(const MergeOptions& options) {
  std::vector<MergeOptions> changed(10, options);
  changed[0].density = 0.4f;
  changed[1].epsilon = 0.2f;
  changed[2].gamma = 0.2f;
  changed[3].lambda = 0.5f;
  changed[4].seed = 1;
  changed[5].rank = 7;
  changed[6].space = MergeSpace::kCore;
  changed[7].dialect = MergeDialect::kMergekit;
  changed[8].rule = MergeMethod::kDare;
  changed[9].beta = 0.25f;
  return changed;
}

TEST(RecipeTest, TheDigestHoldsWhatTheMethodReadsAndNothingElse) {
  for (const MergeMethod method : AllMethods()) {
    const MergeOptions options = {.method = method};
    for (const MergeOptions& changed : ChangedByOne(options)) {
      EXPECT_EQ(DigestOf(changed) == DigestOf(options),
                MethodText(changed) == MethodText(options))
          << MethodText(changed);
    }
    for (const MergeMethod other : AllMethods()) {
      EXPECT_EQ(DigestOf({.method = other}) == DigestOf(options),
                other == method);
    }
  }
  // Of ties, for one: everything but what it does not read.
  std::vector<bool> differs;
  const MergeOptions ties = {.method = MergeMethod::kTies};
  for (const MergeOptions& changed : ChangedByOne(ties)) {
    differs.push_back(DigestOf(changed) != DigestOf(ties));
  }
  EXPECT_THAT(differs, ElementsAre(true, false, false, true, false, true, true,
                                   true, false, false));
  MergeOptions frequency = ties;
  frequency.sign_election = SignElection::kFrequency;
  EXPECT_NE(DigestOf(frequency), DigestOf(ties));
  // Read only together with another.
  const MergeOptions dare = {.method = MergeMethod::kDare};
  MergeOptions elects = dare;
  elects.elect_signs = true;
  EXPECT_NE(DigestOf(elects), DigestOf(dare));
  const MergeOptions knots = {.method = MergeMethod::kKnots,
                              .rule = MergeMethod::kDare};
  MergeOptions seeded = knots;
  seeded.seed = 1;
  EXPECT_NE(DigestOf(seeded), DigestOf(knots));
  MergeOptions calibrated = ties;
  calibrated.pico = true;
  EXPECT_NE(DigestOf(calibrated), DigestOf(ties));
}

TEST(RecipeTest, MinusZeroIsZero) {
  const MergeOptions zero = {.method = MergeMethod::kBreadcrumbs, .gamma = 0};
  MergeOptions minus = zero;
  minus.gamma = -0.0f;
  EXPECT_EQ(DigestOf(minus), DigestOf(zero));
}

struct BadOption {
  MergeOptions options;
  const char* field;
};

TEST(RecipeTest, BadOptionsAreNamed) {
  constexpr auto kTies = MergeMethod::kTies;
  constexpr auto kDella = MergeMethod::kDella;
  constexpr auto kBreadcrumbs = MergeMethod::kBreadcrumbs;
  std::vector<BadOption> bad = {
      {{.method = static_cast<MergeMethod>(0)}, "recipe.method"},
      {{.method = static_cast<MergeMethod>(14)}, "recipe.method"},
      {{.method = kTies, .space = static_cast<MergeSpace>(9)},
       "recipe.ties.space"},
      {{.method = kTies, .dialect = static_cast<MergeDialect>(0)},
       "recipe.ties.dialect"},
      {{.method = kTies, .sign_election = static_cast<SignElection>(3)},
       "recipe.ties.sign_election"},
      {{.method = MergeMethod::kKnots, .rule = MergeMethod::kCat},
       "recipe.knots.rule"},
      {{.method = kTies, .space = MergeSpace::kFactors, .rank = 4},
       "recipe.ties.rank"},
      {{.method = kTies,
        .space = MergeSpace::kFactors,
        .dialect = MergeDialect::kMergekit},
       "recipe.ties.dialect"},
      {{.method = MergeMethod::kDare,
        .sign_election = SignElection::kFrequency},
       "recipe.dare.sign_election"},
      {{.method = MergeMethod::kLinear, .pico = true}, "recipe.pico"},
      {{.method = MergeMethod::kLoraHub, .pico = true}, "recipe.pico"},
  };
  for (const float density : {0.0f, -0.1f, 1.1f, kNan, kInf, -kInf}) {
    bad.push_back(
        {{.method = kTies, .density = density}, "recipe.ties.density"});
    bad.push_back(
        {{.method = MergeMethod::kCompressThenMerge, .density = density},
         "recipe.compress_then_merge.density"});
  }
  for (const float epsilon : {-0.1f, 0.5f, 0.6f, kNan, kInf}) {
    bad.push_back(
        {{.method = kDella, .epsilon = epsilon}, "recipe.della.epsilon"});
  }
  for (const float beta : {-0.1f, 1.1f, kNan, kInf, -kInf}) {
    bad.push_back({{.method = MergeMethod::kCompressThenMerge, .beta = beta},
                   "recipe.compress_then_merge.beta"});
  }
  for (const float gamma : {-0.1f, 0.51f, 1.0f, kNan, kInf}) {
    bad.push_back(
        {{.method = kBreadcrumbs, .gamma = gamma}, "recipe.breadcrumbs.gamma"});
  }
  for (const float lambda : {0.0f, 100.1f, -1e30f, kNan, kInf}) {
    bad.push_back(
        {{.method = MergeMethod::kIso, .lambda = lambda}, "recipe.iso.lambda"});
  }
  for (const uint32_t rank : {513u, 1u << 31, ~0u}) {
    bad.push_back(
        {{.method = MergeMethod::kSvd, .rank = rank}, "recipe.svd.rank"});
  }
  for (const BadOption& one : bad) {
    EXPECT_THAT(TryMethod(one.options), IsInvalid(one.field));
  }
}

TEST(RecipeTest, BoundsThemselvesAreFine) {
  for (const MergeOptions& options : std::vector<MergeOptions>{
           {.method = MergeMethod::kTies, .density = 1, .rank = 512},
           {.method = MergeMethod::kTies, .density = 1e-6f, .lambda = -100},
           // In binary 0.9f + 0.1f and 0.3f - 0.2f are a little off.
           {.method = MergeMethod::kDella, .density = 0.9f, .epsilon = 0.1f},
           {.method = MergeMethod::kDella, .density = 1, .epsilon = 0},
           {.method = MergeMethod::kBreadcrumbs,
           .density = 0.7f,
           .gamma = 0.3f},
           {.method = MergeMethod::kCompressThenMerge, .beta = 0}}) {
    EXPECT_THAT(TryMethod(options), IsOk()) << MethodText(options);
  }
  // What a method does not read may be anything.
  EXPECT_THAT(TryMethod({.density = kNan, .lambda = 0, .rank = 9999}), IsOk());
}

TEST(RecipeTest, ADecimalIsReadAsItWasWritten) {
  EXPECT_EQ(AsWritten(0.7f), 0.7);
  EXPECT_EQ(AsWritten(0.1f), 0.1);
  EXPECT_EQ(AsWritten(1e-5f), 1e-5);
  EXPECT_EQ(AsWritten(1.0f), 1.0);
}

}  // namespace
}  // namespace stockpot
