// Clients that ask for a stream and then read nothing of it: what they hold is
// given back, and others go on.

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include <grpcpp/grpcpp.h>

#include "registry/adapter_ref.h"
#include "tests/server/stalled_call.h"
#include "tests/server/test_daemon.h"

namespace stockpot {
namespace {

using testing::StalledCall;
using testing::TestDaemon;
using testing::TinyAdapter;

class SlowReaderTest : public ::testing::Test {
 protected:
  SlowReaderTest() {
    const TinyAdapter adapter = daemon_.MakeAdapter(1);
    EXPECT_TRUE(daemon_
                    .Register(TestDaemon::MetadataOf("facts", adapter),
                              adapter.safetensors, 1 << 16)
                    .ok());
  }

  // Waits until the server has ended its side of a call so.
  void AwaitCount(const char* method, const char* code) {
    const std::string line =
        absl::StrCat("stockpot_requests_total{code=\"", code, "\",method=\"",
                     method, "\"} 1\n");
    while (daemon_.metrics().Scrape().find(line) == std::string::npos) {
      absl::SleepFor(absl::Milliseconds(1));
    }
  }

  TestDaemon daemon_{absl::Milliseconds(100)};
};

TEST_F(SlowReaderTest, ADownloadIsCutAndItsBytesCanGo) {
  v1::DownloadAdapterRequest request;
  request.set_adapter("facts");
  StalledCall call(daemon_.port(),
                   "/stockpot.v1.RegistryService/DownloadAdapter",
                   request.SerializeAsString());
  EXPECT_TRUE(call.AwaitEnd());
  AwaitCount("DownloadAdapter", "CANCELLED");
  const AdapterRef ref = *AdapterRef::Parse("facts@1");
  ASSERT_TRUE(daemon_.store().Purge(ref).ok());
  while (*daemon_.store().CountChunks() > 0) {
    absl::SleepFor(absl::Milliseconds(1));
  }
}

TEST_F(SlowReaderTest, AnExportIsCut) {
  v1::ExportRecipeRequest request;
  request.mutable_recipe()->add_skills()->set_adapter("facts");
  request.mutable_recipe()->mutable_skills(0)->set_weight(1);
  StalledCall call(daemon_.port(), "/stockpot.v1.RegistryService/ExportRecipe",
                   request.SerializeAsString());
  EXPECT_TRUE(call.AwaitEnd());
  AwaitCount("ExportRecipe", "CANCELLED");
}

TEST_F(SlowReaderTest, ABackupIsCut) {
  StalledCall call(daemon_.port(), "/stockpot.v1.AdminService/BackupRegistry",
                   "");
  EXPECT_TRUE(call.AwaitEnd());
  AwaitCount("BackupRegistry", "CANCELLED");
}

TEST_F(SlowReaderTest, ACheckIsCutAndTheNextMayBegin) {
  v1::VerifyRegistryRequest slow;
  slow.set_bytes_per_second(1);
  StalledCall call(daemon_.port(), "/stockpot.v1.AdminService/VerifyRegistry",
                   slow.SerializeAsString());
  EXPECT_TRUE(call.AwaitEnd());
  AwaitCount("VerifyRegistry", "CANCELLED");
  grpc::ClientContext context;
  const auto next = daemon_.admin().VerifyRegistry(&context, {});
  v1::VerifyRegistryResponse response;
  while (next->Read(&response)) {
  }
  EXPECT_TRUE(next->Finish().ok());
  EXPECT_TRUE(response.done());
}

// What it ends with waits for the client as long as what it told before.
TEST_F(SlowReaderTest, ACheckThatHasEndedIsCutToo) {
  StalledCall call(daemon_.port(), "/stockpot.v1.AdminService/VerifyRegistry",
                   "");
  EXPECT_TRUE(call.AwaitEnd());
}

}  // namespace
}  // namespace stockpot
