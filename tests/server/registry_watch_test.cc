// A registry whose disk fills up: what health and metrics say, and that it
// comes back without a client's help. Needs the right to mount; skipped
// without.

#include "server/registry_watch.h"

#include <sys/mount.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include "proto/grpc/health/v1/health.grpc.pb.h"
#include "proto/stockpot/v1/admin.grpc.pb.h"

#include "base/sha256.h"
#include "server/health_board.h"
#include "tests/testing/temp_dir.h"

namespace stockpot {
namespace {

namespace fs = std::filesystem;

using grpc::health::v1::HealthCheckResponse;
using ::testing::HasSubstr;

// A real server that answers health; gRPC wants one service beside it.
class HealthServer {
 public:
  HealthServer() {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    board_ = std::make_unique<HealthBoard>(server_->GetHealthCheckService(),
                                           &metrics_);
    stub_ = grpc::health::v1::Health::NewStub(grpc::CreateChannel(
        absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials()));
  }

  HealthBoard& board() { return *board_; }
  Metrics& metrics() { return metrics_; }
  bool IsServing(const std::string& service) {
    grpc::ClientContext context;
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    HealthCheckResponse response;
    const grpc::Status status = stub_->Check(&context, request, &response);
    EXPECT_TRUE(status.ok()) << service << ": " << status.error_message();
    return response.status() == HealthCheckResponse::SERVING;
  }

 private:
  Metrics metrics_;
  v1::AdminService::CallbackService service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<HealthBoard> board_;
  std::unique_ptr<grpc::health::v1::Health::Stub> stub_;
};

constexpr char kRegistry[] = "stockpot.v1.RegistryService";
constexpr char kGeneration[] = "stockpot.v1.GenerationService";

TEST(HealthBoardTest, ARegistryThatTakesNoWritesStopsOnlyItsService) {
  HealthServer server;
  for (const char* service : {"", kRegistry, kGeneration}) {
    EXPECT_FALSE(server.IsServing(service)) << service;
  }
  server.board().SetRegistryWritable(true);
  EXPECT_FALSE(server.IsServing(kRegistry));
  server.board().SetServing(true);
  for (const char* service : {"", kRegistry, kGeneration}) {
    EXPECT_TRUE(server.IsServing(service)) << service;
  }
  server.board().SetRegistryWritable(false);
  EXPECT_TRUE(server.IsServing(""));
  EXPECT_TRUE(server.IsServing(kGeneration));
  EXPECT_FALSE(server.IsServing(kRegistry));
  EXPECT_THAT(server.metrics().Scrape(), HasSubstr("stockpot_ready 1\n"));
  server.board().SetServing(false);
  server.board().SetRegistryWritable(true);
  for (const char* service : {"", kRegistry, kGeneration}) {
    EXPECT_FALSE(server.IsServing(service)) << service;
  }
}

class RegistryWatchTest : public ::testing::Test {
 protected:
  void SetUp() override {
    disk_ = dir_.path() + "/disk";
    fs::create_directories(disk_);
    if (mount("none", disk_.c_str(), "tmpfs", 0, "size=160m") != 0) {
      disk_.clear();
      GTEST_SKIP() << "cannot mount a tmpfs: " << std::strerror(errno);
    }
    RocksStoreOptions options;
    options.path = disk_ + "/db";
    options.reserve_bytes = 1 << 20;
    options.log = [](Severity, absl::string_view) {};
    store_ = *RocksStore::Open(std::move(options));
  }
  void TearDown() override {
    watch_.reset();
    store_.reset();
    if (!disk_.empty()) {
      umount2(disk_.c_str(), MNT_DETACH);
    }
  }

  void StartWatch() {
    watch_ = std::make_unique<RegistryWatch>(
        store_.get(),
        RegistryWatch::Options{.period = absl::Milliseconds(10),
                               .retry_period = absl::Milliseconds(50),
                               .least_free_bytes = uint64_t{64} << 20},
        [this](bool writable) {
          server_.board().SetRegistryWritable(writable);
        });
  }
  void FillDisk() {
    std::ofstream filler(disk_ + "/filler", std::ios::app);
    const std::string block(64 << 10, 'f');
    while (filler.write(block.data(), block.size()).flush()) {
    }
  }
  std::string Scrape() {
    watch_->SetGauges(&server_.metrics());
    return server_.metrics().Scrape();
  }

  testing::TempDir dir_;
  std::string disk_;
  HealthServer server_;
  std::unique_ptr<RocksStore> store_;
  std::unique_ptr<RegistryWatch> watch_;
};

TEST_F(RegistryWatchTest, AFullDiskIsSaidAndTheRegistryComesBackByItself) {
  server_.board().SetServing(true);
  StartWatch();
  EXPECT_TRUE(server_.IsServing(kRegistry));
  EXPECT_THAT(Scrape(), HasSubstr("stockpot_registry_writable 1\n"));

  const std::string bytes(20 << 20, 'x');
  UploadSpec spec;
  spec.name = "a";
  spec.adapter_config = "{}";
  spec.size_bytes = bytes.size();
  spec.sha256 = Sha256::Of(bytes);
  absl::StatusOr<std::unique_ptr<Upload>> upload = store_->BeginUpload(spec);
  ASSERT_TRUE(upload.ok()) << upload.status();
  FillDisk();
  ASSERT_FALSE((*upload)->Append(bytes).ok());
  upload->reset();
  while (server_.IsServing(kRegistry)) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  EXPECT_TRUE(server_.IsServing(""));
  EXPECT_TRUE(server_.IsServing(kGeneration));
  EXPECT_THAT(Scrape(), HasSubstr("stockpot_registry_writable 0\n"));

  fs::remove(disk_ + "/filler");
  while (!server_.IsServing(kRegistry)) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  EXPECT_TRUE(store_->Stats().writable);
  EXPECT_THAT(Scrape(), HasSubstr("stockpot_registry_writable 1\n"));
  upload = store_->BeginUpload(spec);
  ASSERT_TRUE(upload.ok()) << upload.status();
  EXPECT_TRUE((*upload)->Append(bytes).ok());
  EXPECT_TRUE((*upload)->Commit({}).ok());
}

}  // namespace
}  // namespace stockpot
