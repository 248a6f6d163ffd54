// BackupRegistry, VerifyRegistry and what GetServerInfo says of the registry,
// over gRPC.

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/sha256.h"
#include "registry/registry_backup.h"
#include "server/registry_watch.h"
#include "tests/server/test_daemon.h"

namespace stockpot {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::TestDaemon;

constexpr auto kFailedPrecondition = grpc::StatusCode::FAILED_PRECONDITION;

class RegistryCareTest : public ::testing::Test {
 protected:
  RegistryCareTest() {
    for (const char* name : {"facts", "json", "sql"}) {
      const auto adapter = daemon_->MakeAdapter(name[0]);
      EXPECT_TRUE(daemon_
                      ->Register(TestDaemon::MetadataOf(name, adapter),
                                 adapter.safetensors, 1 << 16)
                      .ok());
    }
    EXPECT_TRUE(daemon_->store().Flush().ok());
  }

  fs::path BackupFolder() const {
    return fs::path(daemon_->registry_path()) / RegistryBackup::kFolderName;
  }

  // Stores an adapter of `size` bytes, past the validation of tensors.
  void StoreLarge(size_t size) {
    const std::string bytes(size, 'x');
    UploadSpec spec;
    spec.name = "large";
    spec.adapter_config = "{}";
    spec.size_bytes = bytes.size();
    spec.sha256 = Sha256::Of(bytes);
    auto upload = daemon_->store().BeginUpload(spec);
    ASSERT_TRUE(upload.ok());
    ASSERT_TRUE((*upload)->Append(bytes).ok());
    ASSERT_TRUE((*upload)->Commit({}).ok());
    ASSERT_TRUE(daemon_->store().Flush().ok());
  }

  struct Checked {
    grpc::Status status;
    v1::VerifyRegistryResponse last;
  };
  Checked Verify() {
    grpc::ClientContext context;
    auto stream = daemon_->admin().VerifyRegistry(&context, {});
    Checked checked;
    v1::VerifyRegistryResponse response;
    while (stream->Read(&response)) {
      EXPECT_FALSE(checked.last.done());
      checked.last = response;
    }
    checked.status = stream->Finish();
    return checked;
  }
  v1::RegistryStatus Info() {
    grpc::ClientContext context;
    v1::ServerInfo info;
    EXPECT_TRUE(daemon_->admin().GetServerInfo(&context, {}, &info).ok());
    EXPECT_EQ(info.vocabulary_size(), testing::FakeTokenizer::kVocab);
    return info.registry();
  }
  std::string Scrape() {
    RegistryWatch watch(&daemon_->store(), {}, [](bool) {});
    watch.SetGauges(&daemon_->metrics());
    return daemon_->metrics().Scrape();
  }

  std::unique_ptr<TestDaemon> daemon_ = std::make_unique<TestDaemon>();
};

TEST_F(RegistryCareTest, BackupStreamsFilesWithTheirHashesThenTheEnd) {
  grpc::ClientContext context;
  auto stream = daemon_->admin().BackupRegistry(&context, {});
  v1::BackupRegistryResponse part;
  std::vector<std::string> names;
  std::string bytes;
  uint64_t size_bytes = 0;
  uint64_t declared = 0;
  v1::BackupEnd end;
  while (stream->Read(&part)) {
    EXPECT_FALSE(end.num_files() > 0) << "the end is the last message";
    if (part.has_file()) {
      names.push_back(part.file().name());
      declared = part.file().size_bytes();
      bytes.clear();
    } else if (part.has_sha256()) {
      EXPECT_EQ(bytes.size(), declared);
      EXPECT_EQ(part.sha256(), Sha256::Of(bytes).ToHex());
      size_bytes += bytes.size();
    } else if (part.has_end()) {
      end = part.end();
    } else {
      EXPECT_LE(part.chunk().size(), size_t{1} << 20);
      bytes += part.chunk();
    }
  }
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_EQ(end.num_files(), names.size());
  EXPECT_EQ(end.size_bytes(), size_bytes);
  EXPECT_EQ(end.format_version(), 2u);
  EXPECT_THAT(names, AllOf(Contains("CURRENT"), Not(Contains("WITNESS"))));
  // Who saw the end may look: nothing is left.
  EXPECT_FALSE(fs::exists(BackupFolder()));
}

TEST_F(RegistryCareTest, AClientThatVanishesLeavesNothingBehind) {
  // More than fits into the buffers of a connection.
  StoreLarge(size_t{48} << 20);
  grpc::ClientContext context;
  auto stream = daemon_->admin().BackupRegistry(&context, {});
  v1::BackupRegistryResponse part;
  ASSERT_TRUE(stream->Read(&part));
  EXPECT_TRUE(fs::exists(BackupFolder()));
  {
    grpc::ClientContext second;
    auto refused = daemon_->admin().BackupRegistry(&second, {});
    EXPECT_FALSE(refused->Read(&part));
    const grpc::Status status = refused->Finish();
    EXPECT_EQ(status.error_code(), kFailedPrecondition);
    EXPECT_THAT(status.error_message(), HasSubstr("backed up already"));
  }
  context.TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  while (fs::exists(BackupFolder())) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  // The folder goes a moment before the place for the next backup is free.
  grpc::Status next;
  do {
    grpc::ClientContext third;
    auto again = daemon_->admin().BackupRegistry(&third, {});
    while (again->Read(&part)) {
    }
    next = again->Finish();
  } while (next.error_code() == kFailedPrecondition);
  EXPECT_TRUE(next.ok()) << next.error_message();
}

TEST_F(RegistryCareTest, VerifyOfASoundRegistrySaysSo) {
  EXPECT_FALSE(Info().has_last_verify_time());
  const Checked checked = Verify();
  ASSERT_TRUE(checked.status.ok()) << checked.status.error_message();
  EXPECT_TRUE(checked.last.done());
  EXPECT_EQ(checked.last.num_checked(), 3u);
  EXPECT_EQ(checked.last.num_blobs(), 3u);
  EXPECT_EQ(checked.last.bytes_checked(), daemon_->store().Stats().bytes);
  EXPECT_EQ(checked.last.damaged_size(), 0);
  const v1::RegistryStatus info = Info();
  EXPECT_EQ(info.num_adapters(), 3u);
  EXPECT_EQ(info.num_recipes(), 0u);
  EXPECT_EQ(info.bytes(), daemon_->store().Stats().bytes);
  EXPECT_EQ(info.num_damaged(), 0u);
  EXPECT_TRUE(info.writable());
  EXPECT_GT(info.last_verify_time().seconds(), 1'700'000'000);
  EXPECT_THAT(
      Scrape(),
      AllOf(HasSubstr("stockpot_registry_damaged_adapters 0\n"),
            HasSubstr("stockpot_registry_writable 1\n"),
            HasSubstr("stockpot_registry_last_verify_timestamp_seconds 1"),
            Not(HasSubstr("stockpot_registry_checked_bytes_total 0\n"))));
}

TEST_F(RegistryCareTest, VerifyNamesWhatIsDamaged) {
  constexpr size_t kSize = 1 << 20;
  StoreLarge(kSize);
  int num_flipped = 0;
  for (const auto& entry : fs::directory_iterator(daemon_->registry_path())) {
    if (entry.path().extension() == ".blob" && entry.file_size() > kSize) {
      std::fstream file(entry.path(), std::ios::in | std::ios::out);
      file.seekp(500'000);
      file.put('y');
      ++num_flipped;
    }
  }
  ASSERT_EQ(num_flipped, 1);
  const Checked checked = Verify();
  ASSERT_TRUE(checked.status.ok()) << checked.status.error_message();
  EXPECT_TRUE(checked.last.done());
  EXPECT_THAT(checked.last.damaged(), ElementsAre("large@1"));
  EXPECT_EQ(Info().num_damaged(), 1u);
  EXPECT_THAT(Scrape(), HasSubstr("stockpot_registry_damaged_adapters 1\n"));
  // The others are served.
  grpc::ClientContext context;
  v1::GetAdapterRequest request;
  request.set_adapter("facts");
  v1::Adapter adapter;
  EXPECT_TRUE(daemon_->registry().GetAdapter(&context, request, &adapter).ok());
}

TEST_F(RegistryCareTest, OneCheckAtATimeAndCancellingEndsIt) {
  grpc::ClientContext context;
  v1::VerifyRegistryRequest slow;
  slow.set_bytes_per_second(1);
  auto stream = daemon_->admin().VerifyRegistry(&context, slow);
  v1::VerifyRegistryResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_FALSE(response.done());
  EXPECT_EQ(Verify().status.error_code(), kFailedPrecondition);
  context.TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  Checked next;
  do {
    next = Verify();
  } while (next.status.error_code() == kFailedPrecondition);
  EXPECT_TRUE(next.status.ok()) << next.status.error_message();
}

TEST_F(RegistryCareTest, ClosingTheDaemonEndsACheck) {
  grpc::ClientContext context;
  v1::VerifyRegistryRequest slow;
  slow.set_bytes_per_second(1);
  auto stream = daemon_->admin().VerifyRegistry(&context, slow);
  v1::VerifyRegistryResponse response;
  ASSERT_TRUE(stream->Read(&response));
  daemon_->Shutdown();
  while (stream->Read(&response)) {
  }
  EXPECT_FALSE(stream->Finish().ok());
}

}  // namespace
}  // namespace stockpot
