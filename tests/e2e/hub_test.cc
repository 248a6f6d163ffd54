// The command line against the real services and registry: a backup made while
// uploads go on, verified, restored and opened; damage found by every command
// that should.

#include <sys/wait.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <grpcpp/health_check_service_interface.h>

#include "base/sha256.h"
#include "registry/rocks_store.h"
#include "tests/server/test_daemon.h"
#include "tests/testing/temp_dir.h"

namespace stockpot {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::TestDaemon;
using testing::TinyAdapter;

class HubTest : public ::testing::Test {
 protected:
  // `stockpot info` asks for it.
  static void SetUpTestSuite() { grpc::EnableDefaultHealthCheckService(true); }

  struct Result {
    int code = -1;
    std::string output;  // Of both streams.
  };

  // Runs `stockpot ARGS` against the daemon.
  Result Stockpot(const std::string& args) {
    const std::string command = absl::StrCat(
        STOCKPOT_CLI, " --address ", daemon_.address(), " ", args, " 2>&1");
    Result result;
    FILE* const pipe = popen(command.c_str(), "r");
    if (pipe == nullptr) {
      return result;
    }
    char buffer[4096];
    while (const size_t got = fread(buffer, 1, sizeof(buffer), pipe)) {
      result.output.append(buffer, got);
    }
    const int status = pclose(pipe);
    result.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return result;
  }

  void Register(const std::string& name, uint64_t seed) {
    const TinyAdapter adapter = daemon_.MakeAdapter(seed);
    ASSERT_TRUE(daemon_
                    .Register(TestDaemon::MetadataOf(name, adapter),
                              adapter.safetensors, 1 << 16)
                    .ok());
  }

  static std::string ReadBlob(RocksStore& store, const Digest& digest) {
    absl::StatusOr<std::unique_ptr<BlobReader>> reader = store.OpenBlob(digest);
    std::string bytes;
    std::string chunk;
    while (reader.ok() && (*reader)->Next(&chunk).value_or(false)) {
      bytes += chunk;
    }
    return bytes;
  }

  // The largest file in `folder`.
  static fs::path Largest(const fs::path& folder) {
    fs::path largest;
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (largest.empty() || entry.file_size() > fs::file_size(largest)) {
        largest = entry.path();
      }
    }
    return largest;
  }
  static void ChangeAByte(const fs::path& path) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    const auto middle = static_cast<std::streamoff>(fs::file_size(path) / 2);
    file.seekg(middle);
    const char byte = static_cast<char>(file.get() ^ 0x10);
    file.seekp(middle);
    file.put(byte);
    ASSERT_TRUE(file.good());
  }

  TestDaemon daemon_;
  testing::TempDir dir_;
  const std::string backup_ = dir_.path() + "/backup";
  const std::string target_ = dir_.path() + "/target";
};

TEST_F(HubTest, ABackupMadeUnderUploadsIsRestoredByteForByte) {
  for (const char* name : {"facts", "json", "sql"}) {
    Register(name, name[0]);
  }
  std::atomic<bool> stop = false;
  std::thread uploader([&] {
    for (uint64_t i = 0; !stop; ++i) {
      Register(absl::StrCat("more", i), 1000 + i);
    }
  });
  const Result made = Stockpot("hub backup " + backup_);
  stop = true;
  uploader.join();
  ASSERT_EQ(made.code, 0) << made.output;
  EXPECT_EQ(Stockpot("hub verify " + backup_).code, 0);
  const Result restored =
      Stockpot(absl::StrCat("hub restore ", backup_, " ", target_));
  ASSERT_EQ(restored.code, 0) << restored.output;
  EXPECT_THAT(restored.output, HasSubstr("--registry=" + target_));

  RocksStoreOptions options;
  options.path = target_;
  options.reserve_bytes = 0;
  absl::StatusOr<std::unique_ptr<RocksStore>> store =
      RocksStore::Open(std::move(options));
  ASSERT_TRUE(store.ok()) << store.status();
  for (const char* name : {"facts", "json", "sql"}) {
    const absl::StatusOr<AdapterRecord> record =
        (*store)->Get(*AdapterRef::Parse(name));
    ASSERT_TRUE(record.ok()) << record.status();
    EXPECT_EQ(ReadBlob(**store, record->digest),
              daemon_.MakeAdapter(name[0]).safetensors);
  }
  EXPECT_EQ((*store)->Stats().num_damaged, 0u);
}

TEST_F(HubTest, DamageInABackupIsFoundAndNothingIsRestored) {
  Register("facts", 1);
  ASSERT_EQ(Stockpot("hub backup " + backup_).code, 0);
  const fs::path file = Largest(backup_ + "/files");
  ChangeAByte(file);
  const Result verified = Stockpot("hub verify " + backup_);
  EXPECT_EQ(verified.code, 1);
  EXPECT_THAT(verified.output, AllOf(HasSubstr(file.filename().string()),
                                     HasSubstr("DATA_LOSS")));
  EXPECT_EQ(Stockpot(absl::StrCat("hub restore ", backup_, " ", target_)).code,
            1);
  EXPECT_FALSE(fs::exists(target_));
  // A cut one is no backup at all.
  fs::rename(backup_ + "/files", backup_ + "/files.partial");
  EXPECT_THAT(Stockpot("hub verify " + backup_).output, HasSubstr("was cut"));
}

TEST_F(HubTest, DamageInTheRunningRegistryIsNamed) {
  Register("facts", 1);
  Register("json", 2);
  const Result good = Stockpot("hub verify");
  EXPECT_EQ(good.code, 0) << good.output;
  EXPECT_THAT(good.output, HasSubstr("checked 2 adapters"));
  const std::string bytes(1 << 20, 'x');
  UploadSpec spec;
  spec.name = "large";
  spec.adapter_config = "{}";
  spec.size_bytes = bytes.size();
  spec.sha256 = Sha256::Of(bytes);
  absl::StatusOr<std::unique_ptr<Upload>> upload =
      daemon_.store().BeginUpload(spec);
  ASSERT_TRUE(upload.ok());
  ASSERT_TRUE((*upload)->Append(bytes).ok());
  ASSERT_TRUE((*upload)->Commit({}).ok());
  ASSERT_TRUE(daemon_.store().Flush().ok());
  fs::path blob;
  for (const auto& entry : fs::directory_iterator(daemon_.registry_path())) {
    if (entry.path().extension() == ".blob" &&
        entry.file_size() >= bytes.size()) {
      blob = entry.path();
    }
  }
  ASSERT_FALSE(blob.empty());
  ChangeAByte(blob);
  const Result bad = Stockpot("hub verify");
  EXPECT_EQ(bad.code, 1);
  EXPECT_THAT(bad.output,
              AllOf(HasSubstr("damaged  large@1"), HasSubstr("DATA_LOSS")));
  EXPECT_THAT(Stockpot("info").output, HasSubstr("damaged       1 adapters"));
  EXPECT_EQ(Stockpot("show facts").code, 0);
  EXPECT_EQ(Stockpot("show large").code, 1);
  const Result warned = Stockpot("hub backup " + backup_);
  EXPECT_EQ(warned.code, 0);
  EXPECT_THAT(warned.output, HasSubstr("warning: 1 adapters are damaged"));
}

}  // namespace
}  // namespace stockpot
