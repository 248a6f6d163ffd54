#include "base/log.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stockpot {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(LogTest, LineIsOneJsonObject) {
  EXPECT_EQ(FormatLogLine(Severity::kInfo, "T", "hello", {{"k", "v"}}),
            R"({"time":"T","severity":"info","message":"hello","k":"v"})");
}

TEST(LogTest, ClientTextCannotForgeALine) {
  const std::string line = FormatLogLine(
      Severity::kError, "T", "bad name",
      {{"name", "x\"}\n{\"severity\":\"info\x1b[31m\xe2\x80\xa8"}});
  EXPECT_THAT(line, Not(HasSubstr("\n")));
  EXPECT_THAT(line, Not(HasSubstr("\x1b")));
  EXPECT_THAT(line, HasSubstr(R"(x\"}\u000a{)"));
  EXPECT_THAT(line, Not(HasSubstr("\xe2")));
}

TEST(LogTest, LongValuesAreCut) {
  const std::string line = FormatLogLine(Severity::kInfo, "T", "m",
                                         {{"k", std::string(1 << 20, 'a')}});
  EXPECT_LT(line.size(), 1000u);
}

}  // namespace
}  // namespace stockpot
