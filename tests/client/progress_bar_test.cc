#include "client/progress_bar.h"

#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "client/text.h"

namespace stockpot {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint64_t kMiB = uint64_t{1} << 20;

TEST(ProgressBarTest, ShowsBytesRateAndTimeLeft) {
  const std::string line =
      FormatProgress("uploading", 10 * kMiB, 40 * kMiB, absl::Seconds(2), 120);
  EXPECT_THAT(line, HasSubstr("uploading  [##########----"));
  EXPECT_THAT(line, HasSubstr(" 25%  10.0 MiB of 40.0 MiB  5.0 MiB/s  0:06 "
                              "left"));
}

TEST(ProgressBarTest, LongTimesHaveHours) {
  EXPECT_THAT(FormatProgress("x", kMiB, 3724 * kMiB, absl::Seconds(1), 100),
              HasSubstr("1:02:03 left"));
}

TEST(ProgressBarTest, NothingDoneHasNoRate) {
  EXPECT_THAT(FormatProgress("x", 0, 100, absl::Seconds(1), 100),
              Not(HasSubstr("/s")));
  EXPECT_THAT(FormatProgress("x", 5, 100, absl::ZeroDuration(), 100),
              Not(HasSubstr("/s")));
}

TEST(ProgressBarTest, MoreThanAnnouncedStaysFull) {
  EXPECT_THAT(FormatProgress("x", 300, 100, absl::Seconds(1), 100),
              HasSubstr("100%"));
  EXPECT_THAT(FormatProgress("x", 0, 0, absl::Seconds(1), 100),
              HasSubstr("100%"));
}

TEST(ProgressBarTest, FitsAnyWidth) {
  for (int columns = 0; columns < 150; ++columns) {
    EXPECT_LE(
        CountCharacters(FormatProgress("uploading", 700 * kMiB, 1000 * kMiB,
                                       absl::Seconds(100), columns)),
        columns);
  }
}

TEST(ProgressBarTest, DrawsOnOneLineAndRemovesIt) {
  std::ostringstream out;
  {
    ProgressBar bar(&out, "uploading", 100, 80);
    bar.Update(50);
    const size_t size = out.str().size();
    bar.Update(51);  // Sooner than a tenth of a second.
    EXPECT_EQ(out.str().size(), size);
    EXPECT_THAT(out.str(), HasSubstr(" 50%"));
  }
  EXPECT_THAT(out.str(), Not(HasSubstr("\n")));
  EXPECT_THAT(out.str(), ::testing::EndsWith("\r\x1b[K"));
}

TEST(ProgressBarTest, NoStreamDrawsNothing) {
  ProgressBar bar(nullptr, "uploading", 100, 80);
  bar.Update(50);
}

}  // namespace
}  // namespace stockpot
