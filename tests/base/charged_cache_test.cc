#include "base/charged_cache.h"

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::StatusIs;
using ::testing::_;

using Cache = ChargedCache<std::string, std::string>;

Cache::Builder Build(std::string value, int64_t charge) {
  return [=]() -> absl::StatusOr<Cache::Built> {
    return Cache::Built{std::make_shared<const std::string>(value), charge};
  };
}

TEST(ChargedCacheTest, ReturnsTheSameValueWithoutBuildingAgain) {
  Cache cache(10);
  bool hit = true;
  const auto first = cache.GetOrBuild("k", Build("v", 1), &hit);
  ASSERT_THAT(first, IsOk());
  EXPECT_FALSE(hit);
  const auto second = cache.GetOrBuild("k", Build("other", 1), &hit);
  EXPECT_TRUE(hit);
  EXPECT_EQ(*first, *second);
}

TEST(ChargedCacheTest, EvictsTheLeastRecentlyUsedToStayWithinItsCapacity) {
  Cache cache(3);
  ASSERT_THAT(cache.GetOrBuild("a", Build("a", 1)), IsOk());
  ASSERT_THAT(cache.GetOrBuild("b", Build("b", 1)), IsOk());
  ASSERT_THAT(cache.GetOrBuild("a", Build("x", 1)), IsOk());  // Touches a.
  ASSERT_THAT(cache.GetOrBuild("c", Build("c", 2)), IsOk());
  EXPECT_EQ(cache.Stats().charge, 3);
  EXPECT_EQ(cache.Stats().evictions, 1);
  bool hit = false;
  ASSERT_THAT(cache.GetOrBuild("a", Build("new", 1), &hit), IsOk());
  EXPECT_TRUE(hit);
}

TEST(ChargedCacheTest, HeldValueIsNotEvictedAndCountsAsPinned) {
  Cache cache(1);
  const auto held = cache.GetOrBuild("held", Build("v", 1));
  ASSERT_THAT(held, IsOk());
  const auto other = cache.GetOrBuild("other", Build("w", 1));
  EXPECT_EQ(cache.Stats().pinned_charge, 2);
  EXPECT_EQ(cache.Stats().charge, 2);
  EXPECT_EQ(**held, "v");
}

TEST(ChargedCacheTest, ReleasedValueIsEvictedAtTheNextUse) {
  Cache cache(1);
  {
    const auto a = cache.GetOrBuild("a", Build("v", 1));
    const auto b = cache.GetOrBuild("b", Build("w", 1));
    EXPECT_EQ(cache.Stats().charge, 2);
  }
  ASSERT_THAT(cache.GetOrBuild("b", Build("x", 1)), IsOk());
  EXPECT_EQ(cache.Stats().charge, 1);
  EXPECT_EQ(cache.Stats().pinned_charge, 0);
}

TEST(ChargedCacheTest, FailedBuildIsReportedAndNotRemembered) {
  Cache cache(1);
  EXPECT_THAT(cache.GetOrBuild("k",
                               []() -> absl::StatusOr<Cache::Built> {
                                 return absl::NotFoundError("gone");
                               }),
              StatusIs(absl::StatusCode::kNotFound, "gone"));
  EXPECT_THAT(cache.GetOrBuild("k", Build("v", 1)), IsOk());
}

TEST(ChargedCacheTest, ConcurrentCallersShareOneBuild) {
  Cache cache(1);
  std::atomic<int> builds{0};
  std::atomic<bool> go{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      while (!go) {
        std::this_thread::yield();
      }
      const auto value =
          cache.GetOrBuild("k", [&]() -> absl::StatusOr<Cache::Built> {
            ++builds;
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            return Cache::Built{std::make_shared<const std::string>("v"), 1};
          });
      ASSERT_THAT(value, IsOk());
      EXPECT_EQ(**value, "v");
    });
  }
  go = true;
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(builds, 1);
  EXPECT_EQ(cache.Stats().misses, 1);
  EXPECT_EQ(cache.Stats().hits, 7);
}

TEST(ChargedCacheTest, ZeroCapacityKeepsNothingThatNobodyHolds) {
  Cache cache(0);
  ASSERT_THAT(cache.GetOrBuild("a", Build("v", 1)), IsOk());
  bool hit = true;
  ASSERT_THAT(cache.GetOrBuild("b", Build("v", 1)), IsOk());
  ASSERT_THAT(cache.GetOrBuild("a", Build("v", 1), &hit), IsOk());
  EXPECT_FALSE(hit);
}

// A build of `key` that reserves first, and says whether it could.
absl::StatusOr<std::shared_ptr<const std::string>> BuildReserved(
    Cache& cache, const std::string& key, int64_t charge) {
  return cache.GetOrBuild(key, [&]() -> absl::StatusOr<Cache::Built> {
    int64_t taken = 0;
    if (!cache.Reserve(key, charge, &taken)) {
      return absl::ResourceExhaustedError(std::to_string(taken));
    }
    return Cache::Built{std::make_shared<const std::string>(key), charge};
  });
}

TEST(ChargedCacheTest, ReservingEvictsWhatNobodyHoldsBeforeTheBuild) {
  Cache cache(10);
  ASSERT_THAT(cache.GetOrBuild("idle", Build("idle", 6)), IsOk());
  const auto built =
      cache.GetOrBuild("new", [&]() -> absl::StatusOr<Cache::Built> {
        EXPECT_TRUE(cache.Reserve("new", 7));
        EXPECT_EQ(cache.Stats().charge, 0);
        EXPECT_EQ(cache.Stats().reserved, 7);
        EXPECT_EQ(cache.Stats().evictions, 1);
        return Cache::Built{std::make_shared<const std::string>("new"), 5};
      });
  ASSERT_THAT(built, IsOk());
  EXPECT_EQ(cache.Stats().charge, 5);
  EXPECT_EQ(cache.Stats().reserved, 0);
}

TEST(ChargedCacheTest, HeldAndReservedTogetherStayWithinTheCapacity) {
  Cache cache(10);
  const auto held = cache.GetOrBuild("held", Build("held", 4));
  const auto outer =
      cache.GetOrBuild("outer", [&]() -> absl::StatusOr<Cache::Built> {
        EXPECT_TRUE(cache.Reserve("outer", 5));
        // While that build runs, another finds 9 of 10 taken.
        EXPECT_THAT(BuildReserved(cache, "inner", 2),
                    StatusIs(absl::StatusCode::kResourceExhausted, "9"));
        EXPECT_THAT(BuildReserved(cache, "small", 1), IsOk());
        return Cache::Built{std::make_shared<const std::string>("x"), 5};
      });
  ASSERT_THAT(outer, IsOk());
  EXPECT_LE(cache.Stats().charge, 10);
}

TEST(ChargedCacheTest, AFailedBuildGivesItsReservationBack) {
  Cache cache(10);
  EXPECT_THAT(cache.GetOrBuild("k",
                               [&]() -> absl::StatusOr<Cache::Built> {
                                 EXPECT_TRUE(cache.Reserve("k", 10));
                                 return absl::DataLossError("no");
                               }),
              StatusIs(absl::StatusCode::kDataLoss, _));
  EXPECT_EQ(cache.Stats().reserved, 0);
  EXPECT_THAT(BuildReserved(cache, "k", 10), IsOk());
}

TEST(ChargedCacheTest, ReservationsOfManyThreadsNeverPassTheCapacity) {
  Cache cache(4);
  std::atomic<int> building = 0;
  std::atomic<int> built = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        const std::string key = std::to_string((t * 7 + i) % 23);
        const auto value =
            cache.GetOrBuild(key, [&]() -> absl::StatusOr<Cache::Built> {
              if (!cache.Reserve(key, 1)) {
                return absl::ResourceExhaustedError("full");
              }
              EXPECT_LE(++building, 4);
              std::this_thread::yield();
              --building;
              ++built;
              return Cache::Built{std::make_shared<const std::string>(key), 1};
            });
        const CacheStats stats = cache.Stats();
        EXPECT_LE(stats.pinned_charge + stats.reserved, 4);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(built, 0);
  EXPECT_EQ(cache.Stats().reserved, 0);
}

// A caller that can be stopped, and says when it has been asked whether it is:
// by then it waits.
struct Caller {
  std::atomic<bool> is_stopped = false;
  std::atomic<int> asked = 0;
  StopCheck check = [this] {
    ++asked;
    return is_stopped.load();
  };
  void AwaitAsked() const {
    while (asked == 0) std::this_thread::yield();
  }
};

TEST(ChargedCacheTest, AStoppedWaiterLeavesAndTheBuildGoesOn) {
  Cache cache(1);
  std::atomic<bool> building = false;
  std::atomic<bool> may_end = false;
  std::thread builder([&] {
    EXPECT_THAT(cache.GetOrBuild("k",
                                 [&]() -> absl::StatusOr<Cache::Built> {
                                   building = true;
                                   while (!may_end) std::this_thread::yield();
                                   EXPECT_TRUE(cache.Wanted("k"));
                                   return *Build("v", 1)();
                                 }),
                IsOk());
  });
  while (!building) std::this_thread::yield();
  Caller waiter;
  waiter.is_stopped = true;
  bool hit = true;
  EXPECT_THAT(cache.GetOrBuild("k", Build("other", 1), &hit, waiter.check),
              StatusIs(absl::StatusCode::kCancelled, _));
  EXPECT_FALSE(hit);
  may_end = true;
  builder.join();
  EXPECT_EQ(**cache.GetOrBuild("k", Build("other", 1)), "v");
}

// The first caller builds, is stopped, and the second still gets the value.
TEST(ChargedCacheTest, ABuildIsWantedWhileAnyOfItsCallersIs) {
  Cache cache(1);
  Caller first;
  Caller second;
  std::atomic<bool> building = false;
  std::atomic<int> wanted_by_second = 0;
  std::thread builder([&] {
    const auto value = cache.GetOrBuild(
        "k",
        [&]() -> absl::StatusOr<Cache::Built> {
          building = true;
          second.AwaitAsked();
          first.is_stopped = true;
          wanted_by_second = cache.Wanted("k") ? 1 : -1;
          return *Build("v", 1)();
        },
        nullptr, first.check);
    EXPECT_THAT(value, IsOk());
  });
  while (!building) std::this_thread::yield();
  const auto value =
      cache.GetOrBuild("k", Build("other", 1), nullptr, second.check);
  builder.join();
  ASSERT_THAT(value, IsOk());
  EXPECT_EQ(**value, "v");
  EXPECT_EQ(wanted_by_second, 1);
}

TEST(ChargedCacheTest, WhoComesAfterABuildWasGivenUpBuildsAgain) {
  Cache cache(1);
  Caller first;
  first.is_stopped = true;
  Caller second;
  std::atomic<bool> given_up = false;
  std::thread builder([&] {
    EXPECT_THAT(cache.GetOrBuild(
                    "k",
                    [&]() -> absl::StatusOr<Cache::Built> {
                      EXPECT_FALSE(cache.Wanted("k"));
                      given_up = true;
                      second.AwaitAsked();
                      // For good, although somebody waits by now.
                      EXPECT_FALSE(cache.Wanted("k"));
                      return absl::CancelledError("nobody wants it");
                    },
                    nullptr, first.check),
                StatusIs(absl::StatusCode::kCancelled, "nobody wants it"));
  });
  while (!given_up) std::this_thread::yield();
  const auto value =
      cache.GetOrBuild("k", Build("again", 1), nullptr, second.check);
  builder.join();
  ASSERT_THAT(value, IsOk());
  EXPECT_EQ(**value, "again");
  EXPECT_EQ(cache.Stats().misses, 2);
}

TEST(ChargedCacheTest, CallersThatStopAtRandomNeverSpoilWhatOthersWant) {
  Cache cache(2);
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 300; ++i) {
        const std::string key = std::to_string((t + i) % 5);
        const bool stops = (t * 31 + i * 7) % 3 == 0;
        const auto value = cache.GetOrBuild(
            key,
            [&]() -> absl::StatusOr<Cache::Built> {
              for (int step = 0; step < 3; ++step) {
                if (!cache.Wanted(key)) return absl::CancelledError("stopped");
                std::this_thread::yield();
              }
              return *Build(key, 1)();
            },
            nullptr, [stops] { return stops; });
        if (!stops) {
          ASSERT_THAT(value, IsOk());
          EXPECT_EQ(**value, key);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(cache.Stats().reserved, 0);
}

}  // namespace
}  // namespace stockpot
