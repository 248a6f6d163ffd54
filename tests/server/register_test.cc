// `stockpot register` against a real server, through a network that breaks.

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "client/command_transfer.h"
#include "client/connection.h"
#include "client/resumable_upload.h"
#include "registry/adapter_ref.h"
#include "tests/registry/store_fixture.h"
#include "tests/server/cut_wire.h"
#include "tests/server/test_daemon.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace stockpot::testing {
namespace {

using ::testing::_;
using ::testing::HasSubstr;
using ::testing::Not;

class RegisterTest : public ::testing::Test {
 protected:
  RegisterTest() {
    std::filesystem::create_directory(directory_);
    std::ofstream(directory_ + "/adapter_config.json") << adapter_.config;
    std::ofstream(directory_ + "/adapter_model.safetensors", std::ios::binary)
        << adapter_.safetensors;
  }

  absl::Status Register(int port) {
    Terminal terminal{.in = in_, .out = out_, .err = err_};
    const Connection connection(absl::StrCat("127.0.0.1:", port), std::nullopt,
                                interrupt_);
    RegisterOptions options;
    options.directory = directory_;
    options.retry.first_pause = absl::Milliseconds(20);
    options.retry.max_breaks = 12;
    return RunRegister(options, connection, terminal);
  }

  double UploadedBytes() {
    const std::string scrape = daemon_.metrics().Scrape();
    const std::string name = "\nstockpot_registry_upload_bytes_total ";
    return std::stod(scrape.substr(scrape.find(name) + name.size()));
  }

  TempDir temp_;
  TestDaemon daemon_;
  const TinyAdapter adapter_ = daemon_.MakeAdapter(1, /*rank=*/256);
  const std::string directory_ = temp_.path() + "/skill";
  Interrupt interrupt_;
  std::istringstream in_;
  std::ostringstream out_;
  std::ostringstream err_;
};

TEST_F(RegisterTest, GoesOnAfterEachBreak) {
  // In the second chunk, in the rest of it, and in the third's.
  CutWire wire(daemon_.port(), {1'300'000, 400'000, 300'000});
  ASSERT_THAT(Register(wire.port()), IsOk());
  EXPECT_EQ(wire.num_cut(), 3);
  EXPECT_THAT(err_.str(), HasSubstr("the upload broke off"));
  const auto record = daemon_.store().Get(Ref("skill"));
  ASSERT_THAT(record, IsOk());
  EXPECT_THAT(ReadBlob(daemon_.store(), record->digest),
              IsOkAndHolds(adapter_.safetensors));
  // The first chunk went once: what was taken is not sent again.
  EXPECT_EQ(UploadedBytes(), adapter_.safetensors.size());
  EXPECT_EQ(daemon_.parked().num_parked(), 0u);
}

TEST_F(RegisterTest, TheSameCommandGoesOnAfterItGaveUp) {
  v1::AdapterMetadata metadata = TestDaemon::MetadataOf("skill", adapter_);
  const std::string address = absl::StrCat("127.0.0.1:", daemon_.port());
  metadata.set_upload_id(UploadIdOf(metadata, address));
  {
    grpc::ClientContext context;
    v1::RegisterAdapterResponse response;
    auto stream = daemon_.registry().RegisterAdapter(&context, &response);
    v1::RegisterAdapterRequest request;
    *request.mutable_metadata() = metadata;
    stream->Write(request);
    request.set_chunk(adapter_.safetensors.substr(0, 1 << 20));
    stream->Write(request);
    stream->WritesDone();
    EXPECT_EQ(stream->Finish().error_code(), grpc::INVALID_ARGUMENT);
  }
  ASSERT_THAT(Register(daemon_.port()), IsOk());
  EXPECT_EQ(UploadedBytes(), adapter_.safetensors.size());
}

TEST_F(RegisterTest, ARefusalIsNotTriedAgain) {
  std::ofstream(directory_ + "/adapter_model.safetensors", std::ios::binary)
      << std::string(2 << 20, 'x');
  EXPECT_THAT(Register(daemon_.port()),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
  EXPECT_THAT(err_.str(), Not(HasSubstr("broke off")));
}

TEST_F(RegisterTest, WhereNobodyListensNothingIsTriedAgain) {
  const int port = [&] {
    CutWire wire(daemon_.port(), {});
    return wire.port();
  }();
  EXPECT_THAT(Register(port), StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_THAT(err_.str(), Not(HasSubstr("broke off")));
}

TEST(UploadIdTest, FollowsEveryFieldOfTheDeclaration) {
  v1::AdapterMetadata metadata;
  metadata.set_name("a");
  std::vector<std::string> ids = {UploadIdOf(metadata, "x:1")};
  EXPECT_EQ(UploadIdOf(metadata, "x:1"), ids[0]);
  EXPECT_EQ(ids[0].size(), 64u);
  const auto differs = [&](const std::string& id) {
    EXPECT_THAT(ids, Not(::testing::Contains(id)));
    ids.push_back(id);
  };
  differs(UploadIdOf(metadata, "x:2"));
  metadata.set_version(1);
  differs(UploadIdOf(metadata, "x:1"));
  metadata.set_size_bytes(5);
  differs(UploadIdOf(metadata, "x:1"));
  metadata.set_sha256("s");
  differs(UploadIdOf(metadata, "x:1"));
  metadata.set_adapter_config("c");
  differs(UploadIdOf(metadata, "x:1"));
  metadata.mutable_labels()->insert({"k", "v"});
  differs(UploadIdOf(metadata, "x:1"));
  metadata.set_description("d");
  differs(UploadIdOf(metadata, "x:1"));
  metadata.set_card("c");
  differs(UploadIdOf(metadata, "x:1"));
  metadata.set_license("MIT");
  differs(UploadIdOf(metadata, "x:1"));
  metadata.set_signature("{}");
  differs(UploadIdOf(metadata, "x:1"));
}

}  // namespace
}  // namespace stockpot::testing
