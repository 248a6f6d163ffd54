#include "engine/stop_matcher.h"

#include <random>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stockpot {
namespace {

TEST(StopMatcherTest, WithoutStopStringsTextPassesThrough) {
  StopMatcher stops({});
  EXPECT_EQ(stops.Push("abc").text, "abc");
  EXPECT_EQ(stops.Finish(), "");
}

TEST(StopMatcherTest, FindsAStringAcrossPieces) {
  StopMatcher stops({"STOP"});
  EXPECT_EQ(stops.Push("go S").text, "go ");
  EXPECT_EQ(stops.Push("TO").text, "");
  const StopMatcher::Result last = stops.Push("P and on");
  EXPECT_EQ(last.text, "");
  EXPECT_TRUE(last.stopped);
}

TEST(StopMatcherTest, ReleasesWhatTurnedOutNotToBeAStop) {
  StopMatcher stops({"STOP"});
  EXPECT_EQ(stops.Push("STO").text, "");
  EXPECT_EQ(stops.Push("RE").text, "STORE");
}

TEST(StopMatcherTest, FirstMatchWinsAmongSeveral) {
  StopMatcher stops({"world", "lo"});
  const StopMatcher::Result result = stops.Push("hello world");
  EXPECT_EQ(result.text, "hel");
  EXPECT_TRUE(result.stopped);
}

TEST(StopMatcherTest, SelfOverlappingStringIsFound) {
  StopMatcher stops({"aab"});
  EXPECT_EQ(stops.Push("aa").text, "");
  const StopMatcher::Result result = stops.Push("ab");
  EXPECT_EQ(result.text, "a");
  EXPECT_TRUE(result.stopped);
}

TEST(StopMatcherTest, FinishGivesBackWhatWasHeld) {
  StopMatcher stops({"\n\n"});
  EXPECT_EQ(stops.Push("end\n").text, "end");
  EXPECT_EQ(stops.Finish(), "\n");
}

// However text is cut, the result equals searching it whole.
TEST(StopMatcherTest, CutsDoNotMatter) {
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (int i = 0; i < 30; ++i) {
      text += static_cast<char>('a' + random() % 3);
    }
    const std::vector<std::string> wanted = {"abca", "ccb"};
    const size_t first = std::min(text.find(wanted[0]), text.find(wanted[1]));
    StopMatcher stops(wanted);
    std::string shown;
    bool stopped = false;
    for (size_t at = 0; at < text.size() && !stopped;) {
      const size_t n = 1 + random() % 4;
      StopMatcher::Result result = stops.Push(text.substr(at, n));
      shown += result.text;
      stopped = result.stopped;
      at += n;
    }
    if (!stopped) {
      shown += stops.Finish();
    }
    EXPECT_EQ(shown, text.substr(0, first)) << text;
    EXPECT_EQ(stopped, first != std::string::npos) << text;
  }
}

}  // namespace
}  // namespace stockpot
