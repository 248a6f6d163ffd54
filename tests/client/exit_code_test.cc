#include "client/exit_code.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stockpot {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(ExitCodeTest, EachCodeIsAsDocumented) {
  EXPECT_EQ(ExitCodeOf(absl::StatusCode::kOk), 0);
  EXPECT_EQ(ExitCodeOf(absl::StatusCode::kInternal), 1);
  EXPECT_EQ(ExitCodeOf(absl::StatusCode::kNotFound), 3);
  EXPECT_EQ(ExitCodeOf(absl::StatusCode::kInvalidArgument), 4);
  EXPECT_EQ(ExitCodeOf(absl::StatusCode::kUnavailable), 5);
  EXPECT_EQ(ExitCodeOf(absl::StatusCode::kAlreadyExists), 6);
  EXPECT_EQ(ExitCodeOf(absl::StatusCode::kResourceExhausted), 7);
  EXPECT_EQ(ExitCodeOf(absl::StatusCode::kUnimplemented), 8);
  EXPECT_EQ(ExitCodeOf(absl::StatusCode::kDeadlineExceeded), 9);
  EXPECT_EQ(ExitCodeOf(absl::StatusCode::kCancelled), 130);
  EXPECT_EQ(ExitCodeOf(static_cast<absl::StatusCode>(99)), 1);
}

TEST(ExitCodeTest, ErrorNamesItsCodeAndKeepsTheMessage) {
  EXPECT_EQ(ErrorText(absl::NotFoundError("no adapter 'x'"), "host:1"),
            "stockpot: NOT_FOUND: no adapter 'x'");
  EXPECT_EQ(ErrorText(absl::CancelledError("CANCELLED"), "host:1"),
            "stockpot: CANCELLED");
}

TEST(ExitCodeTest, UnavailableHintsAtTheAddress) {
  EXPECT_THAT(ErrorText(absl::UnavailableError("refused"), "host:1"),
              HasSubstr("is stockpotd running at host:1"));
}

TEST(ExitCodeTest, MessageCannotDriveTheTerminal) {
  EXPECT_THAT(ErrorText(absl::InternalError("\x1b[2J"), "host:1"),
              Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace stockpot
