// Uploads that break off and go on, over gRPC.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "registry/adapter_ref.h"
#include "tests/registry/store_fixture.h"
#include "tests/server/test_daemon.h"
#include "tests/testing/status_matchers.h"

namespace stockpot::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kId[] = "resume-test_0123456789";
constexpr size_t kPiece = 100'000;

// One RegisterAdapter call.
class Call {
 public:
  Call(TestDaemon& daemon, const v1::AdapterMetadata& metadata) {
    writer_ = daemon.registry().RegisterAdapter(&context, &response);
    v1::RegisterAdapterRequest request;
    *request.mutable_metadata() = metadata;
    writer_->Write(request);
  }
  // All of `bytes`; false once the server has ended the call.
  bool Send(absl::string_view bytes) {
    v1::RegisterAdapterRequest request;
    for (; !bytes.empty();
         bytes.remove_prefix(std::min(kPiece, bytes.size()))) {
      request.set_chunk(std::string(bytes.substr(0, kPiece)));
      if (!writer_->Write(request)) {
        return false;
      }
    }
    return true;
  }
  grpc::Status End() {
    writer_->WritesDone();
    return writer_->Finish();
  }
  grpc::Status Finish() { return writer_->Finish(); }

  grpc::ClientContext context;
  v1::RegisterAdapterResponse response;

 private:
  std::unique_ptr<grpc::ClientWriter<v1::RegisterAdapterRequest>> writer_;
};

class ResumeTest : public ::testing::Test {
 protected:
  void Start(TestDaemon::Options options = {}) {
    options.parked.clock = [this] { return absl::FromUnixSeconds(now_); };
    daemon_ = std::make_unique<TestDaemon>(std::move(options));
    // More than one chunk of the store, so that something lies on the disk.
    adapter_ = daemon_->MakeAdapter(1, /*rank=*/256);
    ASSERT_GT(adapter_.safetensors.size(), kBlobChunkBytes + kPiece);
    half_ = kBlobChunkBytes + kPiece / 2;
  }

  v1::AdapterMetadata Metadata(uint64_t offset = 0,
                               const std::string& id = kId) const {
    v1::AdapterMetadata metadata = TestDaemon::MetadataOf("a", adapter_);
    metadata.set_upload_id(id);
    metadata.set_resume_offset(offset);
    return metadata;
  }

  grpc::Status GetUpload(v1::GetUploadResponse* response,
                         const std::string& id = kId) {
    grpc::ClientContext context;
    v1::GetUploadRequest request;
    request.set_upload_id(id);
    return daemon_->registry().GetUpload(&context, request, response);
  }

  // Waits until `is_so` says yes of what GetUpload answers.
  bool WaitFor(const std::function<bool(const grpc::Status&,
                                        const v1::GetUploadResponse&)>& is_so,
               const std::string& id = kId) {
    const absl::Time give_up = absl::Now() + absl::Minutes(1);
    while (absl::Now() < give_up) {
      v1::GetUploadResponse response;
      const grpc::Status status = GetUpload(&response, id);
      if (is_so(status, response)) {
        return true;
      }
      absl::SleepFor(absl::Milliseconds(1));
    }
    return false;
  }
  bool WaitUntilTaken(uint64_t bytes, const std::string& id = kId) {
    return WaitFor(
        [&](const grpc::Status&, const v1::GetUploadResponse& response) {
          return response.received_bytes() == bytes;
        },
        id);
  }
  bool WaitUntilParked(const std::string& id = kId) {
    return WaitFor(
        [](const grpc::Status&, const v1::GetUploadResponse& response) {
          return response.has_expire_time();
        },
        id);
  }
  bool WaitUntilGone(const std::string& id = kId) {
    return WaitFor(
        [](const grpc::Status& status, const v1::GetUploadResponse&) {
          return status.error_code() == grpc::NOT_FOUND;
        },
        id);
  }

  // Sends the first half and cancels once it was taken.
  void BreakOff(v1::AdapterMetadata metadata) {
    Call call(*daemon_, metadata);
    ASSERT_TRUE(call.Send(adapter_.safetensors.substr(0, half_)));
    ASSERT_TRUE(WaitUntilTaken(half_, metadata.upload_id()));
    call.context.TryCancel();
    EXPECT_EQ(call.Finish().error_code(), grpc::CANCELLED);
  }
  void Park(const std::string& id = kId) {
    ASSERT_NO_FATAL_FAILURE(BreakOff(Metadata(0, id)));
    ASSERT_TRUE(WaitUntilParked(id));
  }

  // Goes on from the half to the end.
  void ExpectGoesOn() {
    Call call(*daemon_, Metadata(half_));
    EXPECT_TRUE(call.Send(adapter_.safetensors.substr(half_)));
    const grpc::Status status = call.End();
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_THAT(ReadBlob(daemon_->store(),
                         *Digest::FromHex(call.response.adapter().digest())),
                IsOkAndHolds(adapter_.safetensors));
    v1::GetUploadResponse response;
    EXPECT_EQ(GetUpload(&response).error_code(), grpc::NOT_FOUND);
    EXPECT_EQ(daemon_->parked().num_parked(), 0u);
  }

  grpc::Status Try(const v1::AdapterMetadata& metadata) {
    Call call(*daemon_, metadata);
    return call.Finish();
  }

  void ExpectNothingKept() {
    ASSERT_TRUE(WaitUntilGone());
    EXPECT_EQ(daemon_->parked().num_parked(), 0u);
    EXPECT_THAT(daemon_->store().CountChunks(), IsOkAndHolds(0u));
  }

  // Unix seconds; read on the daemon's threads too.
  std::atomic<int64_t> now_ = 1'000'000;
  std::unique_ptr<TestDaemon> daemon_;
  TinyAdapter adapter_;
  size_t half_ = 0;
};

TEST_F(ResumeTest, ACancelledUploadGoesOnWhereItStopped) {
  Start();
  ASSERT_NO_FATAL_FAILURE(Park());
  v1::GetUploadResponse response;
  ASSERT_TRUE(GetUpload(&response).ok());
  EXPECT_EQ(response.received_bytes(), half_);
  EXPECT_EQ(response.expire_time().seconds(), 1'000'000 + 600);
  ExpectGoesOn();
}

TEST_F(ResumeTest, WhatWaitsIsInTheMetrics) {
  Start();
  const auto expect = [&](const std::string& num, const std::string& bytes) {
    daemon_->parked().SetGauges(&daemon_->metrics());
    EXPECT_THAT(
        daemon_->metrics().Scrape(),
        AllOf(HasSubstr("stockpot_registry_waiting_uploads " + num + "\n"),
              HasSubstr("stockpot_registry_waiting_upload_bytes " + bytes +
                        "\n")));
  };
  expect("0", "0");
  ASSERT_NO_FATAL_FAILURE(Park());
  expect("1", absl::StrCat(half_));
  {
    // While a call goes on with it, it waits no more.
    Call call(*daemon_, Metadata(half_));
    ASSERT_TRUE(call.Send(adapter_.safetensors.substr(half_, 1)));
    ASSERT_TRUE(WaitUntilTaken(half_ + 1));
    expect("0", "0");
    call.context.TryCancel();
    call.Finish();
  }
  ASSERT_TRUE(WaitUntilParked());
  expect("1", absl::StrCat(half_ + 1));
  now_ += 601;
  daemon_->parked().DropExpired();
  expect("0", "0");
}

TEST_F(ResumeTest, AnUploadGoesOnInManyPieces) {
  Start();
  uint64_t at = 0;
  while (at + kPiece < adapter_.safetensors.size()) {
    Call call(*daemon_, Metadata(at));
    ASSERT_TRUE(call.Send(adapter_.safetensors.substr(at, kPiece)));
    at += kPiece;
    ASSERT_TRUE(WaitUntilTaken(at));
    call.context.TryCancel();
    call.Finish();
    ASSERT_TRUE(WaitUntilParked());
  }
  half_ = at;
  ExpectGoesOn();
}

TEST_F(ResumeTest, ADeadlineParksToo) {
  Start();
  Call call(*daemon_, Metadata());
  ASSERT_TRUE(call.Send(adapter_.safetensors.substr(0, half_)));
  ASSERT_TRUE(WaitUntilTaken(half_));
  // Its own deadline would decide by time what arrives.
  call.context.TryCancel();
  call.Finish();
  ASSERT_TRUE(WaitUntilParked());
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(1)));
  v1::RegisterAdapterResponse response;
  auto stream = daemon_->registry().RegisterAdapter(&context, &response);
  v1::RegisterAdapterRequest request;
  *request.mutable_metadata() = Metadata(half_);
  stream->Write(request);
  EXPECT_EQ(stream->Finish().error_code(), grpc::DEADLINE_EXCEEDED);
  ASSERT_TRUE(WaitUntilParked());
  ExpectGoesOn();
}

TEST_F(ResumeTest, AnUploadCutForItsSilenceGoesOn) {
  Start({.idle_timeout = absl::Milliseconds(300)});
  Call call(*daemon_, Metadata());
  ASSERT_TRUE(call.Send(adapter_.safetensors.substr(0, half_)));
  const grpc::Status status = call.Finish();
  EXPECT_EQ(status.error_code(), grpc::DEADLINE_EXCEEDED);
  EXPECT_THAT(status.error_message(), HasSubstr("nothing came for 300ms"));
  ASSERT_TRUE(WaitUntilParked());
  ExpectGoesOn();
}

TEST_F(ResumeTest, AnEarlyEndKeepsWhatCame) {
  Start();
  Call call(*daemon_, Metadata());
  ASSERT_TRUE(call.Send(adapter_.safetensors.substr(0, half_)));
  const grpc::Status status = call.End();
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(),
              HasSubstr(absl::StrCat("resume_offset ", half_)));
  ExpectGoesOn();
}

TEST_F(ResumeTest, WhatCameInFullNeedsNoMoreBytes) {
  Start();
  half_ = adapter_.safetensors.size();
  ASSERT_NO_FATAL_FAILURE(Park());
  ExpectGoesOn();
}

TEST_F(ResumeTest, AnotherOffsetIsRefusedWithTheRightOne) {
  Start();
  ASSERT_NO_FATAL_FAILURE(Park());
  for (const uint64_t offset :
       {uint64_t{0}, uint64_t{half_ - 1}, uint64_t{half_ + 1}, ~uint64_t{0}}) {
    const grpc::Status status = Try(Metadata(offset));
    EXPECT_EQ(status.error_code(), grpc::FAILED_PRECONDITION);
    EXPECT_THAT(status.error_message(), HasSubstr(absl::StrCat(half_)));
  }
  ExpectGoesOn();
}

TEST_F(ResumeTest, AnotherDeclarationIsRefusedByItsField) {
  Start();
  ASSERT_NO_FATAL_FAILURE(Park());
  using Change = std::function<void(v1::AdapterMetadata&)>;
  const std::vector<std::pair<std::string, Change>> changes = {
      {"name", [](auto& m) { m.set_name("b"); }},
      {"version", [](auto& m) { m.set_version(1); }},
      {"size_bytes", [](auto& m) { m.set_size_bytes(m.size_bytes() + 1); }},
      {"sha256", [](auto& m) { m.set_sha256(std::string(64, '0')); }},
      {"adapter_config", [](auto& m) { m.set_adapter_config("{}"); }},
      {"labels",
       [](auto& m) {
         m.mutable_labels()->insert({"k", "v"});
       }},
      {"description", [](auto& m) { m.set_description("other"); }},
      {"card", [](auto& m) { m.set_card("other"); }},
      {"license", [](auto& m) { m.set_license("MIT"); }},
      {"signature", [](auto& m) { m.set_signature("{}"); }}};
  for (const auto& [field, change] : changes) {
    v1::AdapterMetadata metadata = Metadata(half_);
    change(metadata);
    const grpc::Status status = Try(metadata);
    EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT) << field;
    EXPECT_THAT(status.error_message(), HasSubstr("metadata." + field + " "));
  }
  ExpectGoesOn();
}

TEST_F(ResumeTest, ASecondCallIsRefusedWhileTheFirstLasts) {
  Start();
  Call first(*daemon_, Metadata());
  ASSERT_TRUE(first.Send(adapter_.safetensors.substr(0, half_)));
  ASSERT_TRUE(WaitUntilTaken(half_));
  EXPECT_EQ(Try(Metadata(half_)).error_code(), grpc::ABORTED);
  ASSERT_TRUE(first.Send(adapter_.safetensors.substr(half_)));
  EXPECT_TRUE(first.End().ok());
}

TEST_F(ResumeTest, BadBytesAreNotKept) {
  Start();
  std::string nan = adapter_.safetensors;
  nan.replace(nan.size() - 4, 4, std::string("\0\0\xc0\x7f", 4));
  {
    Call call(*daemon_, Metadata());
    call.Send(nan);
    EXPECT_EQ(call.End().error_code(), grpc::INVALID_ARGUMENT);
  }
  ExpectNothingKept();
  v1::AdapterMetadata wrong = Metadata();
  wrong.set_sha256(std::string(64, '0'));
  {
    Call call(*daemon_, wrong);
    ASSERT_TRUE(call.Send(adapter_.safetensors));
    EXPECT_EQ(call.End().error_code(), grpc::INVALID_ARGUMENT);
  }
  ExpectNothingKept();
}

TEST_F(ResumeTest, WhatWaitedTooLongIsGone) {
  Start();
  ASSERT_NO_FATAL_FAILURE(Park());
  EXPECT_THAT(daemon_->store().CountChunks(), IsOkAndHolds(1u));
  now_ += 599;
  daemon_->parked().DropExpired();
  EXPECT_EQ(daemon_->parked().num_parked(), 1u);
  now_ += 1;
  daemon_->parked().DropExpired();
  ExpectNothingKept();
  const grpc::Status status = Try(Metadata(half_));
  EXPECT_EQ(status.error_code(), grpc::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("begin again at 0"));
}

TEST_F(ResumeTest, OfTooManyTheOldestGoes) {
  Start({.parked = {.max_parked = 2}});
  const std::vector<std::string> ids = {"first-0123456789", "second-0123456789",
                                        "third-0123456789"};
  for (const std::string& id : ids) {
    ASSERT_NO_FATAL_FAILURE(Park(id));
    now_ += 1;
  }
  v1::GetUploadResponse response;
  EXPECT_EQ(GetUpload(&response, ids[0]).error_code(), grpc::NOT_FOUND);
  EXPECT_TRUE(GetUpload(&response, ids[1]).ok());
  EXPECT_TRUE(GetUpload(&response, ids[2]).ok());
  EXPECT_THAT(daemon_->store().CountChunks(), IsOkAndHolds(2u));
}

TEST_F(ResumeTest, OneThatHoldsTooMuchMemoryIsNotKept) {
  Start({.parked = {.max_held_bytes = 1000}});
  ASSERT_NO_FATAL_FAILURE(BreakOff(Metadata()));
  ExpectNothingKept();
}

TEST_F(ResumeTest, AParkedUploadCountsInItsNamespace) {
  Start({.quotas = *NamespaceQuotas::Parse("*:adapters=1")});
  ASSERT_NO_FATAL_FAILURE(Park());
  const v1::AdapterMetadata other = TestDaemon::MetadataOf("b", adapter_);
  EXPECT_EQ(daemon_->Register(other, adapter_.safetensors, kPiece).error_code(),
            grpc::RESOURCE_EXHAUSTED);
  now_ += 600;
  daemon_->parked().DropExpired();
  EXPECT_TRUE(daemon_->Register(other, adapter_.safetensors, kPiece).ok());
}

TEST_F(ResumeTest, WithoutAWindowNothingIsKept) {
  Start({.parked = {.window = absl::ZeroDuration()}});
  Call call(*daemon_, Metadata());
  ASSERT_TRUE(call.Send(adapter_.safetensors.substr(0, half_)));
  EXPECT_EQ(call.End().error_code(), grpc::INVALID_ARGUMENT);
  ExpectNothingKept();
  EXPECT_TRUE(daemon_->Register(Metadata(), adapter_.safetensors, kPiece).ok());
}

TEST_F(ResumeTest, WithoutAnIdNothingIsKept) {
  Start();
  Call call(*daemon_, Metadata(0, ""));
  ASSERT_TRUE(call.Send(adapter_.safetensors.substr(0, half_)));
  EXPECT_EQ(call.End().error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(daemon_->parked().num_parked(), 0u);
  EXPECT_THAT(daemon_->store().CountChunks(), IsOkAndHolds(0u));
  EXPECT_EQ(Try(Metadata(5, "")).error_code(), grpc::INVALID_ARGUMENT);
}

TEST_F(ResumeTest, IdsThatAreNoIdsAreRefused) {
  Start();
  for (const std::string& id :
       {std::string("short-012345678"), std::string(65, 'a'),
        std::string("0123456789abcde/"), std::string("0123456789abcde\n")}) {
    EXPECT_EQ(Try(Metadata(0, id)).error_code(), grpc::INVALID_ARGUMENT);
    v1::GetUploadResponse response;
    EXPECT_EQ(GetUpload(&response, id).error_code(), grpc::INVALID_ARGUMENT);
  }
  v1::GetUploadResponse response;
  EXPECT_EQ(GetUpload(&response).error_code(), grpc::NOT_FOUND);
}

TEST_F(ResumeTest, AnEmptyChunkIsRefused) {
  Start();
  grpc::ClientContext context;
  v1::RegisterAdapterResponse response;
  auto stream = daemon_->registry().RegisterAdapter(&context, &response);
  v1::RegisterAdapterRequest request;
  *request.mutable_metadata() = Metadata();
  ASSERT_TRUE(stream->Write(request));
  request.set_chunk("");
  stream->Write(request);
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("empty"));
  ExpectNothingKept();
}

TEST_F(ResumeTest, ATrickleIsCutAndASteadyStreamIsNot) {
  Start({.pace = {.min_bytes_per_second = 100'000,
                  .window = absl::Milliseconds(300)}});
  {
    Call call(*daemon_, Metadata());
    // One byte each time, until the server has enough.
    for (size_t i = 0; call.Send(adapter_.safetensors.substr(i, 1)); ++i) {
      ASSERT_LT(i, 10'000u);
      absl::SleepFor(absl::Milliseconds(10));
    }
    const grpc::Status status = call.Finish();
    EXPECT_EQ(status.error_code(), grpc::DEADLINE_EXCEEDED);
    EXPECT_THAT(status.error_message(), HasSubstr("bytes came in"));
  }
  Start(
      {.pace = {.min_bytes_per_second = 1, .window = absl::Milliseconds(100)}});
  Call call(*daemon_, Metadata());
  for (size_t at = 0; at < adapter_.safetensors.size(); at += kPiece) {
    absl::SleepFor(absl::Milliseconds(50));
    ASSERT_TRUE(call.Send(adapter_.safetensors.substr(at, kPiece)));
  }
  EXPECT_TRUE(call.End().ok());
}

}  // namespace
}  // namespace stockpot::testing
