// `stockpot hub` against a server that says what a test wants.

#include <filesystem>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/sha256.h"
#include "tests/client/fake_stockpotd.h"
#include "tests/testing/temp_dir.h"

namespace stockpot::testing {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::HasSubstr;

class HubCommandTest : public ::testing::Test {
 protected:
  void AddFile(const std::string& name, const std::string& bytes) {
    v1::BackupRegistryResponse part;
    part.mutable_file()->set_name(name);
    part.mutable_file()->set_size_bytes(bytes.size());
    parts().push_back(part);
    part.set_chunk(bytes);
    parts().push_back(part);
    part.set_sha256(Sha256::Of(bytes).ToHex());
    parts().push_back(part);
    size_bytes_ += bytes.size();
    ++num_files_;
  }
  void AddEnd() {
    v1::BackupRegistryResponse part;
    part.mutable_end()->set_num_files(num_files_);
    part.mutable_end()->set_size_bytes(size_bytes_);
    part.mutable_end()->set_format_version(2);
    parts().push_back(part);
  }
  std::vector<v1::BackupRegistryResponse>& parts() {
    return daemon_.admin.backup;
  }
  CommandResult Hub(std::vector<std::string> args) {
    args.insert(args.begin(), "hub");
    return RunStockpot(daemon_, args);
  }

  TempDir dir_;
  const std::string backup_ = dir_.path() + "/backup";
  const std::string target_ = dir_.path() + "/target";
  FakeStockpotd daemon_;
  uint32_t num_files_ = 0;
  uint64_t size_bytes_ = 0;
};

TEST_F(HubCommandTest, BacksUpVerifiesAndRestores) {
  AddFile("CURRENT", "MANIFEST-000005\n");
  AddFile("000007.blob", "bytes");
  AddEnd();
  const CommandResult made = Hub({"backup", backup_});
  EXPECT_EQ(made.code, kExitOk) << made.err;
  EXPECT_THAT(made.out, AllOf(HasSubstr("2 files"), HasSubstr(backup_)));
  const CommandResult verified = Hub({"verify", backup_});
  EXPECT_EQ(verified.code, kExitOk) << verified.err;
  EXPECT_EQ(verified.out, made.out);
  const CommandResult restored = Hub({"restore", backup_, target_});
  EXPECT_EQ(restored.code, kExitOk) << restored.err;
  EXPECT_THAT(restored.err, HasSubstr("--registry=" + target_));
  EXPECT_TRUE(fs::exists(target_ + "/000007.blob"));
  // Never over what is there.
  EXPECT_EQ(Hub({"backup", backup_}).code, kExitAlreadyExists);
  EXPECT_EQ(Hub({"restore", backup_, target_}).code, kExitAlreadyExists);
}

TEST_F(HubCommandTest, ABackupThatIsCutLeavesNothing) {
  AddFile("CURRENT", "MANIFEST-000005\n");
  AddFile("000007.blob", "bytes");
  AddEnd();
  const std::vector<v1::BackupRegistryResponse> whole = parts();
  for (size_t length = 1; length < whole.size(); ++length) {
    parts().assign(whole.begin(),
                   whole.begin() + static_cast<ptrdiff_t>(length));
    const CommandResult cut = Hub({"backup", backup_});
    EXPECT_EQ(cut.code, kExitFailure) << length;
    EXPECT_THAT(cut.err, HasSubstr("the backup was cut")) << length;
    EXPECT_FALSE(fs::exists(backup_)) << length;
    // An error of the server's is told as it is.
    daemon_.admin.backup_status =
        grpc::Status(grpc::StatusCode::UNAVAILABLE, "disk");
    EXPECT_EQ(Hub({"backup", backup_}).code, kExitUnavailable) << length;
    EXPECT_FALSE(fs::exists(backup_)) << length;
    daemon_.admin.backup_status = grpc::Status::OK;
  }
}

TEST_F(HubCommandTest, BytesThatChangedOnTheWayAreDataLoss) {
  AddFile("CURRENT", "MANIFEST-000005\n");
  AddEnd();
  parts()[1].set_chunk("MANIFEST-000004\n");
  const CommandResult result = Hub({"backup", backup_});
  EXPECT_EQ(result.code, kExitFailure);
  EXPECT_THAT(result.err, AllOf(HasSubstr("DATA_LOSS"), HasSubstr("CURRENT")));
  EXPECT_FALSE(fs::exists(backup_));
}

TEST_F(HubCommandTest, VerifyAsksTheServerAndFailsIfAnythingIsDamaged) {
  v1::VerifyRegistryResponse response;
  response.set_num_blobs(2);
  daemon_.admin.checks = {response};
  EXPECT_THAT(Hub({"verify"}).err, HasSubstr("without a result"));
  response.set_num_checked(2);
  response.set_bytes_checked(2048);
  response.set_done(true);
  daemon_.admin.checks.push_back(response);
  const CommandResult good = Hub({"verify", "--bytes-per-second", "1000"});
  EXPECT_EQ(good.code, kExitOk) << good.err;
  EXPECT_EQ(good.out, "checked 2 adapters, 2.0 KiB: nothing is damaged\n");
  EXPECT_EQ(daemon_.admin.verify_request.bytes_per_second(), 1000u);
  daemon_.admin.checks.back().add_damaged("facts@3");
  const CommandResult bad = Hub({"verify"});
  EXPECT_EQ(bad.code, kExitFailure);
  EXPECT_EQ(bad.out, "damaged  facts@3\n");
  EXPECT_THAT(bad.err, HasSubstr("DATA_LOSS: 1 stored adapters are damaged"));
}

TEST_F(HubCommandTest, WrongUsage) {
  EXPECT_EQ(Hub({}).code, kExitUsage);
  EXPECT_EQ(Hub({"backup"}).code, kExitUsage);
  EXPECT_EQ(Hub({"restore", backup_}).code, kExitUsage);
  EXPECT_EQ(Hub({"verify", backup_, "--bytes-per-second", "1"}).code,
            kExitUsage);
  EXPECT_EQ(Hub({"verify", backup_}).code, kExitNotFound);
}

}  // namespace
}  // namespace stockpot::testing
