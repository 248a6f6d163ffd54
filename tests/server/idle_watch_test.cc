#include "server/idle_watch.h"

#include <atomic>
#include <memory>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace stockpot {
namespace {

constexpr absl::Duration kTimeout = absl::Milliseconds(4);

TEST(IdleWatchTest, StopWaitsForACutThatHasBegun) {
  IdleWatch watch(kTimeout);
  absl::Notification begun;
  std::atomic<bool> ended = false;
  const auto guard = watch.Add([&](const absl::Status& status) {
    EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
    begun.Notify();
    // So that a Stop() which does not wait is seen to return too soon.
    absl::SleepFor(absl::Milliseconds(50));
    ended = true;
  });
  begun.WaitForNotification();
  guard->Stop();
  EXPECT_TRUE(ended);
  EXPECT_FALSE(guard->Heard(0));
}

TEST(IdleWatchTest, ACutMayStopItsOwnGuard) {
  IdleWatch watch(kTimeout);
  std::shared_ptr<IdleWatch::Guard> guard;
  absl::Notification added;
  absl::Notification stopped;
  guard = watch.Add([&](const absl::Status&) {
    added.WaitForNotification();
    guard->Stop();
    stopped.Notify();
  });
  added.Notify();
  stopped.WaitForNotification();
}

TEST(IdleWatchTest, OurOwnTurnIsNotCut) {
  IdleWatch watch(kTimeout);
  absl::Notification cut;
  const auto ours = watch.Add([](const absl::Status&) { FAIL(); });
  ASSERT_TRUE(ours->Heard(1));
  // By the time that this one is cut, the other was looked at too.
  const auto theirs = watch.Add([&](const absl::Status&) { cut.Notify(); });
  cut.WaitForNotification();
  EXPECT_TRUE(ours->Heard(1));
  ours->Stop();
}

}  // namespace
}  // namespace stockpot
