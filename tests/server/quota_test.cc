// Quotas of namespaces as a client meets them: the code, the quota's name, and
// when to try again.

#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "proto/google/rpc/error_details.pb.h"
#include "proto/google/rpc/status.pb.h"

#include "tests/server/test_daemon.h"

namespace stockpot {
namespace {

using ::stockpot::testing::TestDaemon;
using ::stockpot::testing::TinyAdapter;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kExhausted = grpc::StatusCode::RESOURCE_EXHAUSTED;

class QuotaTest : public ::testing::Test {
 protected:
  static TestDaemon::Options WithQuotas(const std::string& quotas) {
    TestDaemon::Options options;
    options.quotas = *NamespaceQuotas::Parse(quotas);
    return options;
  }
  static grpc::Status Upload(TestDaemon& daemon, const std::string& name,
                             uint64_t seed) {
    const TinyAdapter adapter = daemon.MakeAdapter(seed);
    return daemon.Register(TestDaemon::MetadataOf(name, adapter),
                           adapter.safetensors, 1 << 20);
  }
  static uint64_t AdapterBytes() {
    return TestDaemon().MakeAdapter(1).safetensors.size();
  }
  // What google.rpc.RetryInfo in the details says; nullopt if there is none.
  static std::optional<absl::Duration> RetryDelay(const grpc::Status& status) {
    google::rpc::Status details;
    google::rpc::RetryInfo retry;
    if (!details.ParseFromString(status.error_details()) ||
        details.details_size() != 1 || !details.details(0).UnpackTo(&retry)) {
      return std::nullopt;
    }
    EXPECT_EQ(details.code(), static_cast<int>(status.error_code()));
    EXPECT_EQ(details.message(), status.error_message());
    return absl::Seconds(retry.retry_delay().seconds()) +
           absl::Nanoseconds(retry.retry_delay().nanos());
  }
};

TEST_F(QuotaTest, BytesOfANamespace) {
  const uint64_t size = AdapterBytes();
  TestDaemon daemon(
      WithQuotas(absl::StrCat("team-a:bytes=", 2 * size, ";*:bytes=1")));
  ASSERT_TRUE(Upload(daemon, "team-a/x", 1).ok());
  ASSERT_TRUE(Upload(daemon, "team-a/y", 2).ok());
  const grpc::Status status = Upload(daemon, "team-a/z", 3);
  EXPECT_EQ(status.error_code(), kExhausted);
  EXPECT_THAT(status.error_message(),
              AllOf(HasSubstr("the quota \"bytes\" of namespace \"team-a\""),
                    HasSubstr(absl::StrCat("is ", 2 * size)),
                    HasSubstr(absl::StrCat(2 * size, " are used")),
                    HasSubstr(absl::StrCat("takes ", size)),
                    HasSubstr("delete and purge")));
  // Waiting does not help.
  EXPECT_EQ(RetryDelay(status), std::nullopt);
  EXPECT_EQ(Upload(daemon, "other/x", 1).error_code(), kExhausted);
  EXPECT_EQ(daemon.store().Stats().num_adapters, 2u);
}

TEST_F(QuotaTest, AdaptersOfANamespace) {
  TestDaemon daemon(WithQuotas("default:adapters=1"));
  ASSERT_TRUE(Upload(daemon, "x", 1).ok());
  // Equal content under another name counts as well.
  const grpc::Status status = Upload(daemon, "y", 1);
  EXPECT_EQ(status.error_code(), kExhausted);
  EXPECT_THAT(
      status.error_message(),
      AllOf(HasSubstr("the quota \"adapters\" of namespace \"default\" is 1"),
            HasSubstr("1 are used")));
  EXPECT_EQ(RetryDelay(status), std::nullopt);
  ASSERT_TRUE(Upload(daemon, "team-a/y", 1).ok());
  // Purging makes room, and not before.
  v1::DeleteAdapterRequest request;
  request.set_adapter("x@1");
  v1::DeleteAdapterResponse response;
  grpc::ClientContext remove;
  ASSERT_TRUE(
      daemon.registry().DeleteAdapter(&remove, request, &response).ok());
  EXPECT_EQ(Upload(daemon, "y", 1).error_code(), kExhausted);
  request.set_purge(true);
  grpc::ClientContext purge;
  ASSERT_TRUE(daemon.registry().DeleteAdapter(&purge, request, &response).ok());
  EXPECT_TRUE(Upload(daemon, "y", 1).ok());
}

TEST_F(QuotaTest, TheUploadRateSaysWhenToTryAgain) {
  TestDaemon daemon(WithQuotas("*:uploads_per_minute=2"));
  ASSERT_TRUE(Upload(daemon, "team-a/x", 1).ok());
  ASSERT_TRUE(Upload(daemon, "team-a/y", 2).ok());
  const grpc::Status status = Upload(daemon, "team-a/z", 3);
  EXPECT_EQ(status.error_code(), kExhausted);
  EXPECT_THAT(
      status.error_message(),
      AllOf(HasSubstr("\"uploads_per_minute\" of namespace \"team-a\" is 2"),
            HasSubstr("try again in ")));
  const std::optional<absl::Duration> delay = RetryDelay(status);
  ASSERT_TRUE(delay.has_value());
  EXPECT_GT(*delay, absl::ZeroDuration());
  EXPECT_LE(*delay, absl::Seconds(30));
  // Others have a rate of their own.
  EXPECT_TRUE(Upload(daemon, "team-b/x", 1).ok());
  EXPECT_EQ(daemon.store().Stats().num_adapters, 3u);
}

}  // namespace
}  // namespace stockpot
