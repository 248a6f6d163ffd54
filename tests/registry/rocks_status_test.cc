#include "registry/rocks_status.h"

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rocksdb/status.h"

#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Rocks = rocksdb::Status;

TEST(RocksStatusTest, CodesAreTheDocumentedOnes) {
  const auto code = [](const Rocks& status) {
    return FromRocks(status, "x").code();
  };
  EXPECT_THAT(FromRocks(Rocks::OK(), "x"), IsOk());
  EXPECT_EQ(code(Rocks::NoSpace()), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(code(Rocks::SpaceLimit()), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(code(Rocks::Corruption("x")), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(Rocks::PathNotFound("x")), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(Rocks::IOError("x")), absl::StatusCode::kUnavailable);
  EXPECT_EQ(code(Rocks::Busy()), absl::StatusCode::kUnavailable);
  EXPECT_EQ(code(Rocks::TryAgain()), absl::StatusCode::kUnavailable);
  EXPECT_EQ(code(Rocks::ShutdownInProgress()), absl::StatusCode::kUnavailable);
  EXPECT_EQ(code(Rocks::NotFound()), absl::StatusCode::kNotFound);
  EXPECT_EQ(code(Rocks::InvalidArgument("x")), absl::StatusCode::kInternal);
}

TEST(RocksStatusTest, MessageNamesTheActionAndNoServerPath) {
  EXPECT_THAT(
      FromRocks(Rocks::IOError("/srv/secret/000012.log", "EIO"), "store it"),
      StatusIs(absl::StatusCode::kUnavailable,
               AllOf(HasSubstr("could not store it"), Not(HasSubstr("/srv")),
                     Not(HasSubstr("EIO")))));
}

}  // namespace
}  // namespace stockpot
