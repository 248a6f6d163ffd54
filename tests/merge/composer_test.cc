#include "merge/composer.h"

#include <atomic>
#include <barrier>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/mutex.h"
#include "base/retry_after.h"
#include "base/sha256.h"
#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::StatusIs;
using ::testing::_;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kBytes = 100;  // Of every adapter.

Digest Named(const std::string& name) { return Sha256::Of(name); }

std::vector<BaseModule> Modules() {
  return {{"layers.0.q", 8, 8, false},
          {"layers.0.v", 8, 8, false},
          {"lm_head", 8, 16, true}};
}

// Adapters that exist for as long as the test says; counts what was asked.
class FakeSource : public AdapterSource {
 public:
  void Add(const std::string& name, std::vector<float> scales,
           int32_t rank = 4) {
    MutexLock lock(&mu_);
    scales_[Named(name)] = std::move(scales);
    rank_[Named(name)] = rank;
  }
  void FailWith(absl::Status status) {
    MutexLock lock(&mu_);
    failure_ = std::move(status);
  }
  void SetLoadTime(absl::Duration time) { load_time_ = time; }
  int loads() const { return loads_; }
  // Adapters that anybody holds.
  static int num_alive() { return alive_; }

  absl::StatusOr<int64_t> ResidentBytes(const Digest& digest) override {
    MutexLock lock(&mu_);
    if (!scales_.contains(digest)) return absl::NotFoundError("no adapter");
    return kBytes;
  }

  absl::StatusOr<std::shared_ptr<const Adapter>> Load(
      const Digest& digest) override {
    ++loads_;
    absl::SleepFor(load_time_);
    MutexLock lock(&mu_);
    if (!failure_.ok()) return failure_;
    ++alive_;
    std::shared_ptr<Adapter> adapter(new Adapter, [](Adapter* a) {
      --alive_;
      delete a;
    });
    adapter->digest = digest;
    adapter->scales = scales_.at(digest);
    for (const float scale : adapter->scales) {
      adapter->ranks.push_back(scale == 0 ? 0 : rank_.at(digest));
    }
    adapter->bytes = kBytes;
    return adapter;
  }

 private:
  static inline std::atomic<int> alive_ = 0;
  std::atomic<int> loads_ = 0;
  absl::Duration load_time_ = absl::ZeroDuration();
  Mutex mu_;
  std::map<Digest, std::vector<float>> scales_ ABSL_GUARDED_BY(mu_);
  std::map<Digest, int32_t> rank_ ABSL_GUARDED_BY(mu_);
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
};

// Merges into adapters without tensors; counts and remembers.
class FakeMerger : public AdapterMerger {
 public:
  absl::StatusOr<int64_t> MergedBytes(
      const Recipe&,
      absl::Span<const std::shared_ptr<const Adapter>>) override {
    return bytes;
  }
  absl::StatusOr<std::shared_ptr<const Adapter>> Merge(
      const Recipe& recipe,
      absl::Span<const std::shared_ptr<const Adapter>> adapters,
      const StopCheck& stopped) override {
    ++merges;
    num_skills = adapters.size();
    for (size_t i = 0; i < adapters.size(); ++i) {
      EXPECT_EQ(adapters[i]->digest, recipe.skills()[i].adapter);
    }
    absl::SleepFor(merge_time);
    if (!failure.ok()) return failure;
    while (until_stopped) {
      if (stopped()) return absl::CancelledError("stopped");
    }
    auto adapter = std::make_shared<Adapter>();
    adapter->digest = recipe.digest();
    adapter->scales = {1, 0, 1};
    adapter->ranks = {4, 0, 4};
    adapter->bytes = bytes;
    return adapter;
  }

  int64_t bytes = kBytes;
  absl::Duration merge_time = absl::ZeroDuration();
  absl::Status failure;
  // Goes on until it is stopped, or this is false.
  std::atomic<bool> until_stopped = false;
  std::atomic<int> merges = 0;
  std::atomic<size_t> num_skills = 0;
};

Recipe MakeRecipe(const std::vector<SkillSpec>& skills,
                  const MergeOptions& options = {}) {
  auto recipe = Recipe::Create(skills, options, Modules(), Named("base"));
  EXPECT_THAT(recipe, IsOk());
  return *recipe;
}

Recipe OnlySkill(const std::string& name, float weight = 1) {
  return MakeRecipe({{Named(name), weight, {}}});
}

class ComposerTest : public ::testing::Test {
 protected:
  ComposerTest() {
    for (int i = 0; i < 10; ++i) {
      source_.Add(absl::StrCat(i), {2, 0.5f, 0});
    }
  }

  Composer MakeComposer(int64_t adapters, int64_t compositions = 1 << 20) {
    return Composer(&source_,
                    {.adapter_cache_bytes = adapters * kBytes,
                     .composition_cache_bytes = compositions},
                    nullptr);
  }

  // Two skills by `options`.
  Recipe TwoBy(const MergeOptions& options) {
    return MakeRecipe({{Named("1"), 1, {}}, {Named("2"), -0.5f, {}}}, options);
  }

  FakeSource source_;
  FakeMerger merger_;
};

const MergeOptions kTies = {.method = MergeMethod::kTies};

TEST_F(ComposerTest, TheBaseNeedsNoComposition) {
  Composer composer = MakeComposer(4);
  const auto result = composer.Compose(Recipe());
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->composition, nullptr);
  EXPECT_TRUE(result->hit);
  EXPECT_EQ(source_.loads(), 0);
}

TEST_F(ComposerTest, CoefficientsAreWeightTimesScaling) {
  Composer composer = MakeComposer(4);
  const Recipe recipe =
      MakeRecipe({{Named("1"), 3, {{"**.v", -2}}}, {Named("2"), 0.5f, {}}});
  const auto result = composer.Compose(recipe);
  ASSERT_THAT(result, IsOk());
  const Composition& composition = *result->composition;
  EXPECT_EQ(composition.recipe, recipe.digest());
  ASSERT_EQ(composition.skills.size(), 2);
  for (const ComposedSkill& skill : composition.skills) {
    if (skill.adapter->digest == Named("1")) {
      EXPECT_THAT(*skill.coefficients, ElementsAre(6, -3, 0));
    } else {
      EXPECT_EQ(skill.adapter->digest, Named("2"));
      EXPECT_THAT(*skill.coefficients, ElementsAre(1, 0.25f, 0));
    }
  }
}

TEST_F(ComposerTest, SecondCallIsAHitAndLoadsNothing) {
  Composer composer = MakeComposer(4);
  const Recipe recipe = OnlySkill("1");
  EXPECT_FALSE(composer.Compose(recipe)->hit);
  const auto again = composer.Compose(recipe);
  EXPECT_TRUE(again->hit);
  EXPECT_EQ(source_.loads(), 1);
  EXPECT_EQ(composer.AdapterStats().hits, 1);
  EXPECT_EQ(composer.AdapterStats().misses, 1);
  EXPECT_EQ(composer.CompositionStats().hits, 1);
  EXPECT_EQ(composer.CompositionStats().misses, 1);
}

TEST_F(ComposerTest, ANewRecipeOverResidentAdaptersLoadsNothing) {
  Composer composer = MakeComposer(4);
  ASSERT_THAT(composer.Compose(OnlySkill("1")), IsOk());
  ASSERT_THAT(composer.Compose(OnlySkill("2")), IsOk());
  const auto mix = composer.Compose(
      MakeRecipe({{Named("1"), 0.5f, {}}, {Named("2"), 0.5f, {}}}));
  ASSERT_THAT(mix, IsOk());
  EXPECT_FALSE(mix->hit);  // Its coefficients were built.
  EXPECT_EQ(source_.loads(), 2);
}

TEST_F(ComposerTest, ManyThreadsLoadAnAdapterOnce) {
  source_.SetLoadTime(absl::Milliseconds(50));
  Composer composer = MakeComposer(4);
  constexpr int kThreads = 16;
  std::barrier barrier(kThreads);
  std::atomic<int> misses = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      barrier.arrive_and_wait();
      const auto result =
          composer.Compose(OnlySkill("1", i % 2 == 0 ? 1.0f : 2.0f));
      ASSERT_THAT(result, IsOk());
      EXPECT_EQ(result->composition->skills[0].adapter->digest, Named("1"));
      misses += result->hit ? 0 : 1;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(source_.loads(), 1);
  EXPECT_EQ(composer.CompositionStats().misses, 2);
  EXPECT_GE(misses, 1);
}

TEST_F(ComposerTest, LeastRecentlyUsedAdapterIsEvicted) {
  Composer composer = MakeComposer(2);
  for (const char* name : {"1", "2", "1", "3"}) {
    ASSERT_THAT(composer.Compose(OnlySkill(name)), IsOk());
  }
  EXPECT_EQ(source_.loads(), 3);
  EXPECT_EQ(composer.AdapterStats().evictions, 1);
  EXPECT_EQ(composer.AdapterStats().charge, 2 * kBytes);
  ASSERT_THAT(composer.Compose(OnlySkill("1")), IsOk());
  EXPECT_EQ(source_.loads(), 3);  // Still there.
  ASSERT_THAT(composer.Compose(OnlySkill("2")), IsOk());
  EXPECT_EQ(source_.loads(), 4);  // Was evicted.
}

TEST_F(ComposerTest, CachedCompositionPinsNoAdapter) {
  const int before = FakeSource::num_alive();
  Composer composer = MakeComposer(1);
  for (int i = 0; i < 5; ++i) {
    ASSERT_THAT(composer.Compose(OnlySkill(absl::StrCat(i))), IsOk());
  }
  EXPECT_EQ(composer.CompositionStats().entries, 5);
  EXPECT_EQ(composer.AdapterStats().pinned_charge, 0);
  EXPECT_EQ(FakeSource::num_alive() - before, 1);
}

TEST_F(ComposerTest, AdapterOfARunningCallIsNotEvicted) {
  Composer composer = MakeComposer(3);
  auto held = composer.Compose(OnlySkill("1"));
  ASSERT_THAT(held, IsOk());
  EXPECT_EQ(composer.AdapterStats().pinned_charge, kBytes);
  for (const char* name : {"2", "3", "4", "5"}) {
    ASSERT_THAT(composer.Compose(OnlySkill(name)), IsOk());
  }
  EXPECT_EQ(held->composition->skills[0].adapter->digest, Named("1"));
  EXPECT_EQ((*held->composition->skills[0].coefficients)[0], 2);
  // It was never evicted: asking again loads nothing.
  const int loads = source_.loads();
  ASSERT_THAT(composer.Compose(OnlySkill("1")), IsOk());
  EXPECT_EQ(source_.loads(), loads);
  held->composition.reset();
  EXPECT_EQ(composer.AdapterStats().pinned_charge, 0);
}

TEST_F(ComposerTest, CoefficientsSurviveTheirEviction) {
  Composer composer = MakeComposer(10, /*compositions=*/0);
  const auto held = composer.Compose(OnlySkill("1", 3));
  ASSERT_THAT(held, IsOk());
  for (int i = 0; i < 10; ++i) {
    ASSERT_THAT(composer.Compose(OnlySkill(absl::StrCat(i))), IsOk());
  }
  EXPECT_THAT(*held->composition->skills[0].coefficients,
              ElementsAre(6, 1.5f, 0));
}

TEST_F(ComposerTest, PinnedAdaptersThatLeaveNoRoomAreResourceExhausted) {
  Composer composer = MakeComposer(2);
  auto one = composer.Compose(OnlySkill("1"));
  auto two = composer.Compose(OnlySkill("2"));
  const absl::Status full = composer.Compose(OnlySkill("3")).status();
  EXPECT_THAT(full, StatusIs(absl::StatusCode::kResourceExhausted,
                             HasSubstr("--adapter_cache_bytes")));
  EXPECT_TRUE(RetryAfter(full).has_value());
  EXPECT_EQ(source_.loads(), 2);  // Refused before the memory was taken.
  // What is resident still serves.
  EXPECT_THAT(composer.Compose(OnlySkill("2", 0.5f)), IsOk());
  one->composition.reset();
  EXPECT_THAT(composer.Compose(OnlySkill("3")), IsOk());
}

TEST_F(ComposerTest, ARecipeThatCannotFitReleasesWhatItLoaded) {
  Composer composer = MakeComposer(2);
  std::vector<SkillSpec> skills;
  for (int i = 0; i < 4; ++i) skills.push_back({Named(absl::StrCat(i)), 1, {}});
  EXPECT_THAT(composer.Compose(MakeRecipe(skills)),
              StatusIs(absl::StatusCode::kResourceExhausted, _));
  EXPECT_EQ(composer.AdapterStats().pinned_charge, 0);
  EXPECT_THAT(composer.Compose(OnlySkill("9")), IsOk());
}

TEST_F(ComposerTest, FailedLoadIsReportedAndTriedAgain) {
  Composer composer = MakeComposer(2);
  source_.FailWith(absl::DataLossError("bytes are damaged"));
  EXPECT_THAT(composer.Compose(OnlySkill("1")),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("damaged")));
  source_.FailWith(absl::OkStatus());
  EXPECT_THAT(composer.Compose(OnlySkill("1")), IsOk());
  EXPECT_THAT(composer.Compose(OnlySkill("unknown")),
              StatusIs(absl::StatusCode::kNotFound, _));
}

TEST_F(ComposerTest, HitsMissesAndBuildTimeReachTheMetrics) {
  Metrics metrics;
  Composer composer(&source_, {.adapter_cache_bytes = kBytes}, &metrics);
  for (const char* name : {"1", "1", "2"}) {
    ASSERT_THAT(composer.Compose(OnlySkill(name)), IsOk());
  }
  const std::string text = metrics.Scrape();
  EXPECT_THAT(text, HasSubstr("stockpot_composition_cache_hits_total 1\n"));
  EXPECT_THAT(text, HasSubstr("stockpot_composition_cache_misses_total"
                              "{temperature=\"cold\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("stockpot_composition_ready_seconds_count"
                              "{temperature=\"cold\"} 2\n"));
}

TEST_F(ComposerTest, TemperatureSaysWhatWasInMemory) {
  Metrics metrics;
  Composer composer(&source_, {.adapter_cache_bytes = 4 * kBytes}, &metrics,
                    &merger_);
  const auto temperature = [&](const Recipe& recipe) {
    const auto result = composer.Compose(recipe);
    EXPECT_THAT(result, IsOk());
    EXPECT_EQ(result->hit, result->temperature == Temperature::kHot);
    return result->temperature;
  };
  EXPECT_EQ(temperature(OnlySkill("1")), Temperature::kCold);
  EXPECT_EQ(temperature(OnlySkill("1")), Temperature::kHot);
  EXPECT_EQ(temperature(OnlySkill("1", 2)), Temperature::kWarm);
  EXPECT_EQ(temperature(TwoBy({})), Temperature::kCold);  // "2" is loaded.
  EXPECT_EQ(temperature(TwoBy(kTies)), Temperature::kWarm);
  EXPECT_EQ(temperature(TwoBy(kTies)), Temperature::kHot);
  EXPECT_EQ(temperature(
                MakeRecipe({{Named("3"), 1, {}}, {Named("1"), 1, {}}}, kTies)),
            Temperature::kCold);
  EXPECT_EQ(temperature(Recipe()), Temperature::kHot);
  const std::string text = metrics.Scrape();
  // The base alone is not counted.
  EXPECT_THAT(text, HasSubstr("stockpot_composition_cache_hits_total 2\n"));
  for (const char* name : {"cache_misses_total", "ready_seconds_count"}) {
    EXPECT_THAT(text,
                AllOf(HasSubstr(absl::StrCat("stockpot_composition_", name,
                                             "{temperature=\"warm\"} 2\n")),
                      HasSubstr(absl::StrCat("stockpot_composition_", name,
                                             "{temperature=\"cold\"} 3\n"))));
  }
  EXPECT_THAT(text, HasSubstr("stockpot_composition_ready_seconds_count"
                              "{temperature=\"hot\"} 2\n"));
}

TEST_F(ComposerTest, LinearAndLoraHubMixThroughOneProduct) {
  source_.Add("a", {2, 0.5f, 0});
  source_.Add("b", {2, 0.5f, 2});
  Composer composer = MakeComposer(4);
  const std::vector<SkillSpec> skills = {{Named("a"), 2, {}},
                                         {Named("b"), -8, {{"**.v", 0}}}};
  const auto linear =
      composer.Compose(MakeRecipe(skills, {.method = MergeMethod::kLinear}));
  ASSERT_THAT(linear, IsOk());
  EXPECT_TRUE(linear->composition->mix->rank_one());
  const auto hub =
      composer.Compose(MakeRecipe(skills, {.method = MergeMethod::kLoraHub}));
  ASSERT_THAT(hub, IsOk());
  for (const ComposedSkill& skill : linear->composition->skills) {
    ASSERT_NE(skill.shrink, nullptr);
    if (skill.adapter->digest == Named("a")) {
      EXPECT_THAT(*skill.shrink, ElementsAre(2, 1, 0));
      EXPECT_THAT(*skill.coefficients, ElementsAre(2, 1, 0));
    } else {
      EXPECT_THAT(*skill.shrink, ElementsAre(-4, 0, -4));
      EXPECT_THAT(*skill.coefficients, ElementsAre(4, 0, 4));
    }
  }
  for (const ComposedSkill& skill : hub->composition->skills) {
    if (skill.adapter->digest == Named("a")) {
      EXPECT_THAT(*skill.shrink, ElementsAre(2, 2, 0));
      EXPECT_THAT(*skill.coefficients, ElementsAre(4, 1, 0));
    } else {
      EXPECT_THAT(*skill.shrink, ElementsAre(-8, 0, -8));
      EXPECT_THAT(*skill.coefficients, ElementsAre(-16, 0, -16));
    }
  }
  // Both sides are charged.
  EXPECT_EQ(composer.CompositionStats().charge, 2 * 2 * 2 * 3 * 4);
  const auto cat = composer.Compose(MakeRecipe(skills));
  EXPECT_FALSE(cat->composition->mix->rank_one());
  EXPECT_EQ(cat->composition->skills[0].shrink, nullptr);
}

TEST_F(ComposerTest, UnequalRanksAreNamedUnlessTheyMeetNowhere) {
  const std::vector<BaseModule> modules = Modules();
  source_.Add("four", {1, 1, 0}, 4);
  source_.Add("eight", {1, 0, 1}, 8);
  source_.Add("head", {0, 0, 1}, 16);
  Composer composer(&source_, {.modules = modules}, nullptr);
  for (const MergeMethod method :
       {MergeMethod::kLinear, MergeMethod::kLoraHub}) {
    const MergeOptions options = {.method = method};
    EXPECT_THAT(
        composer.Compose(MakeRecipe(
            {{Named("four"), 1, {}}, {Named("eight"), 1, {}}}, options)),
        StatusIs(absl::StatusCode::kFailedPrecondition,
                 AllOf(HasSubstr("layers.0.q"), HasSubstr(" 4"),
                       HasSubstr(" 8"), HasSubstr(Named("four").ToString()))));
    // Adapted by both, wanted from one.
    EXPECT_THAT(
        composer.Compose(MakeRecipe(
            {{Named("four"), 1, {}}, {Named("eight"), 1, {{"**.q", 0}}}},
            options)),
        IsOk());
    EXPECT_THAT(composer.Compose(MakeRecipe(
                    {{Named("four"), 1, {}}, {Named("head"), 1, {}}}, options)),
                IsOk());
  }
  EXPECT_EQ(composer.CompositionStats().entries, 4);  // No failure is kept.
}

TEST_F(ComposerTest, LoraHubNeedsEqualScalings) {
  source_.Add("other", {3, 0.5f, 0});
  Composer composer = MakeComposer(4);
  const std::vector<SkillSpec> skills = {{Named("1"), 1, {}},
                                         {Named("other"), 1, {}}};
  EXPECT_THAT(
      composer.Compose(MakeRecipe(skills, {.method = MergeMethod::kLoraHub})),
      StatusIs(
          absl::StatusCode::kFailedPrecondition,
          AllOf(HasSubstr("scaling"), HasSubstr("module 0"), HasSubstr("3"))));
  EXPECT_THAT(
      composer.Compose(MakeRecipe(skills, {.method = MergeMethod::kLinear})),
      IsOk());
}

TEST_F(ComposerTest, ADerivedRecipeIsOneAdapterThatIsMergedOnce) {
  Composer composer(&source_, {}, nullptr, &merger_);
  const Recipe recipe = TwoBy(kTies);
  const auto result = composer.Compose(recipe);
  ASSERT_THAT(result, IsOk());
  EXPECT_FALSE(result->hit);
  const Composition& composition = *result->composition;
  EXPECT_EQ(composition.recipe, recipe.digest());
  ASSERT_EQ(composition.skills.size(), 1);
  EXPECT_EQ(composition.skills[0].adapter->digest, recipe.digest());
  EXPECT_THAT(*composition.skills[0].coefficients, ElementsAre(1, 0, 1));
  EXPECT_EQ(composition.skills[0].shrink, nullptr);
  EXPECT_EQ(merger_.num_skills, 2);
  const auto again = composer.Compose(recipe);
  EXPECT_TRUE(again->hit);
  EXPECT_EQ(again->composition->skills[0].adapter,
            composition.skills[0].adapter);
  EXPECT_EQ(merger_.merges, 1);
  // Calibrated cat is derived too; other options are another recipe.
  ASSERT_THAT(composer.Compose(TwoBy({.pico = true})), IsOk());
  MergeOptions denser = kTies;
  denser.density = 0.75f;
  ASSERT_THAT(composer.Compose(TwoBy(denser)), IsOk());
  EXPECT_EQ(merger_.merges, 3);
  EXPECT_EQ(composer.CompositionStats().entries, 0);
}

TEST_F(ComposerTest, ManyThreadsMergeARecipeOnce) {
  merger_.merge_time = absl::Milliseconds(50);
  Composer composer(&source_, {}, nullptr, &merger_);
  constexpr int kThreads = 16;
  std::barrier barrier(kThreads);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      barrier.arrive_and_wait();
      // Half of them load the skills meanwhile.
      const auto result = composer.Compose(
          i % 2 == 0 ? TwoBy(kTies) : OnlySkill(i % 4 == 1 ? "1" : "2"));
      EXPECT_THAT(result, IsOk());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(merger_.merges, 1);
  EXPECT_EQ(source_.loads(), 2);
}

TEST_F(ComposerTest, ADerivedAdapterNeedsItsSkillsOnlyWhileItIsMerged) {
  Composer composer(&source_, {.adapter_cache_bytes = 3 * kBytes}, nullptr,
                    &merger_);
  auto held = composer.Compose(TwoBy(kTies));
  ASSERT_THAT(held, IsOk());
  EXPECT_EQ(composer.AdapterStats().pinned_charge, kBytes);
  for (const char* name : {"5", "6", "7"}) {
    ASSERT_THAT(composer.Compose(OnlySkill(name)), IsOk());
  }
  const int loads = source_.loads();
  EXPECT_TRUE(composer.Compose(TwoBy(kTies))->hit);
  EXPECT_EQ(source_.loads(), loads);
}

TEST_F(ComposerTest, WhatCannotFitIsRefusedBeforeItIsMerged) {
  Composer composer(&source_, {.adapter_cache_bytes = 4 * kBytes}, nullptr,
                    &merger_);
  merger_.bytes = 5 * kBytes;  // Never.
  EXPECT_THAT(composer.Compose(TwoBy(kTies)),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("--adapter_cache_bytes")));
  merger_.bytes = 3 * kBytes;  // Not beside its two skills.
  EXPECT_THAT(composer.Compose(TwoBy(kTies)),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("--adapter_cache_bytes")));
  EXPECT_EQ(merger_.merges, 0);
  EXPECT_EQ(composer.AdapterStats().pinned_charge, 0);
  merger_.bytes = 2 * kBytes;
  EXPECT_THAT(composer.Compose(TwoBy(kTies)), IsOk());
}

TEST_F(ComposerTest, AFailedMergeIsNotKept) {
  Composer composer(&source_, {}, nullptr, &merger_);
  merger_.failure = absl::FailedPreconditionError("ranks");
  EXPECT_THAT(composer.Compose(TwoBy(kTies)),
              StatusIs(absl::StatusCode::kFailedPrecondition, "ranks"));
  EXPECT_EQ(composer.AdapterStats().entries, 2);
  EXPECT_EQ(composer.AdapterStats().reserved, 0);
  merger_.failure = absl::OkStatus();
  EXPECT_THAT(composer.Compose(TwoBy(kTies)), IsOk());
  EXPECT_EQ(merger_.merges, 2);
}

TEST_F(ComposerTest, AMergeThatNobodyWaitsForStops) {
  Composer composer(&source_, {}, nullptr, &merger_);
  merger_.until_stopped = true;
  std::atomic<int> asked = 0;
  EXPECT_THAT(composer.Compose(TwoBy(kTies), [&] { return ++asked > 3; }),
              StatusIs(absl::StatusCode::kCancelled, _));
  EXPECT_EQ(asked, 4);
  EXPECT_EQ(composer.AdapterStats().reserved, 0);
  EXPECT_EQ(composer.AdapterStats().pinned_charge, 0);
  merger_.until_stopped = false;
  EXPECT_THAT(composer.Compose(TwoBy(kTies)), IsOk());
  EXPECT_EQ(merger_.merges, 2);
}

TEST_F(ComposerTest, AMergeGoesOnForOthersWhenItsFirstCallIsCancelled) {
  Composer composer(&source_, {}, nullptr, &merger_);
  merger_.until_stopped = true;
  std::atomic<bool> cancelled = false;
  std::atomic<int> asked_after = 0;
  std::thread first([&] {
    // Its thread merges on for the other.
    EXPECT_THAT(composer.Compose(TwoBy(kTies),
                                 [&] {
                                   asked_after += cancelled ? 1 : 0;
                                   return cancelled.load();
                                 }),
                IsOk());
  });
  while (merger_.merges == 0) absl::SleepFor(absl::Milliseconds(1));
  std::atomic<bool> waits = false;
  std::thread second([&] {
    const auto result = composer.Compose(TwoBy(kTies), [&] {
      waits = true;
      return false;
    });
    ASSERT_THAT(result, IsOk());
    EXPECT_EQ(result->temperature, Temperature::kWarm);
    EXPECT_EQ(result->composition->skills[0].adapter->digest,
              TwoBy(kTies).digest());
  });
  while (!waits) absl::SleepFor(absl::Milliseconds(1));
  cancelled = true;
  while (asked_after == 0) absl::SleepFor(absl::Milliseconds(1));
  merger_.until_stopped = false;
  first.join();
  second.join();
  EXPECT_EQ(merger_.merges, 1);
}

TEST_F(ComposerTest, WithoutAMergerDerivedRecipesAreUnimplemented) {
  Composer composer = MakeComposer(4);
  EXPECT_THAT(composer.Compose(TwoBy(kTies)),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("ties")));
}

TEST_F(ComposerTest, LoadsThatRunTogetherDoNotOvershootTheCache) {
  source_.SetLoadTime(absl::Milliseconds(30));
  Composer composer = MakeComposer(2);
  constexpr int kThreads = 6;
  std::barrier barrier(kThreads);
  std::atomic<int> ok = 0;
  std::atomic<int> refused = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      barrier.arrive_and_wait();
      const auto result = composer.Compose(OnlySkill(absl::StrCat(i)));
      const CacheStats stats = composer.AdapterStats();
      EXPECT_LE(stats.charge + stats.reserved, 2 * kBytes);
      result.ok() ? ++ok : ++refused;
      barrier.arrive_and_wait();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ok, 2);
  EXPECT_EQ(refused, 4);
}

}  // namespace
}  // namespace stockpot
