#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/server/test_daemon.h"

namespace stockpot {
namespace {

using ::stockpot::testing::TestDaemon;
using ::stockpot::testing::TinyAdapter;
using ::testing::HasSubstr;

class RegistryTest : public ::testing::Test {
 protected:
  // Nothing became visible, and no byte of it stays.
  void ExpectNothingStored() {
    daemon_.store().WaitForSweep();
    EXPECT_EQ(daemon_.store().Stats().num_adapters, 0u);
    const auto chunks = daemon_.store().CountChunks();
    ASSERT_TRUE(chunks.ok());
    EXPECT_EQ(*chunks, 0u);
  }
  void ExpectRefused(const v1::AdapterMetadata& metadata,
                     const std::string& bytes, grpc::StatusCode code,
                     const std::string& message, size_t chunk = 1 << 20) {
    const grpc::Status status = daemon_.Register(metadata, bytes, chunk);
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr(message));
    ExpectNothingStored();
  }
  v1::AdapterMetadata Metadata(const std::string& name) const {
    return TestDaemon::MetadataOf(name, adapter_);
  }

  TestDaemon daemon_;
  const TinyAdapter adapter_ = daemon_.MakeAdapter(1);
};

constexpr auto kInvalid = grpc::StatusCode::INVALID_ARGUMENT;

TEST_F(RegistryTest, WhatWasUploadedComesBackByteForByte) {
  v1::RegisterAdapterResponse response;
  ASSERT_TRUE(
      daemon_.Register(Metadata("a"), adapter_.safetensors, 777, &response)
          .ok());
  EXPECT_EQ(response.adapter().version(), 1);
  EXPECT_EQ(response.adapter().max_rank(), 4u);
  EXPECT_FALSE(response.already_stored());

  grpc::ClientContext context;
  v1::DownloadAdapterRequest request;
  request.set_adapter("a");
  auto stream = daemon_.registry().DownloadAdapter(&context, request);
  v1::DownloadAdapterResponse part;
  std::string bytes;
  v1::AdapterMetadata metadata;
  while (stream->Read(&part)) {
    if (part.has_metadata()) metadata = part.metadata();
    bytes += part.chunk();
  }
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_EQ(bytes, adapter_.safetensors);
  EXPECT_EQ(metadata.adapter_config(), adapter_.config);
  EXPECT_EQ(metadata.sha256(), Metadata("a").sha256());
}

TEST_F(RegistryTest, SameBytesUnderTwoNamesAreStoredOnce) {
  ASSERT_TRUE(
      daemon_.Register(Metadata("a"), adapter_.safetensors, 1 << 20).ok());
  v1::RegisterAdapterResponse response;
  ASSERT_TRUE(
      daemon_.Register(Metadata("b"), adapter_.safetensors, 1 << 20, &response)
          .ok());
  EXPECT_TRUE(response.already_stored());
  EXPECT_EQ(daemon_.store().Stats().num_adapters, 2u);
  EXPECT_EQ(daemon_.store().Stats().bytes, adapter_.safetensors.size());
}

TEST_F(RegistryTest, NameAndVersionAreImmutable) {
  v1::AdapterMetadata first = Metadata("a");
  first.set_version(1);
  ASSERT_TRUE(daemon_.Register(first, adapter_.safetensors, 1 << 20).ok());
  const TinyAdapter other = daemon_.MakeAdapter(2);
  v1::AdapterMetadata second = TestDaemon::MetadataOf("a", other);
  second.set_version(1);
  EXPECT_EQ(daemon_.Register(second, other.safetensors, 1 << 20).error_code(),
            grpc::StatusCode::ALREADY_EXISTS);
}

TEST_F(RegistryTest, ListAliasUpdateAndDelete) {
  for (const char* name : {"a", "b"}) {
    ASSERT_TRUE(
        daemon_.Register(Metadata(name), adapter_.safetensors, 1 << 20).ok());
  }
  v1::RegistryService::Stub& stub = daemon_.registry();
  {
    grpc::ClientContext context;
    v1::ListAdaptersRequest request;
    request.set_page_size(1);
    v1::ListAdaptersResponse page;
    ASSERT_TRUE(stub.ListAdapters(&context, request, &page).ok());
    ASSERT_EQ(page.adapters_size(), 1);
    EXPECT_EQ(page.adapters(0).name(), "a");
    grpc::ClientContext next;
    request.set_page_token(page.next_page_token());
    ASSERT_TRUE(stub.ListAdapters(&next, request, &page).ok());
    ASSERT_EQ(page.adapters_size(), 1);
    EXPECT_EQ(page.adapters(0).name(), "b");
  }
  v1::Adapter adapter;
  {
    grpc::ClientContext context;
    v1::SetAliasRequest request;
    request.set_name("a");
    request.set_alias("prod");
    request.set_version(1);
    ASSERT_TRUE(stub.SetAlias(&context, request, &adapter).ok());
    EXPECT_THAT(adapter.aliases(), ::testing::ElementsAre("prod"));
  }
  {
    grpc::ClientContext context;
    v1::UpdateAdapterRequest request;
    request.set_adapter("a@prod");
    request.set_description("new words");
    ASSERT_TRUE(stub.UpdateAdapter(&context, request, &adapter).ok());
    EXPECT_EQ(adapter.description(), "new words");
  }
  {
    grpc::ClientContext context;
    v1::DeleteAdapterRequest request;
    request.set_adapter("a@1");
    v1::DeleteAdapterResponse ignored;
    ASSERT_TRUE(stub.DeleteAdapter(&context, request, &ignored).ok());
  }
  grpc::ClientContext context;
  v1::GetAdapterRequest request;
  request.set_adapter("a@prod");
  EXPECT_EQ(stub.GetAdapter(&context, request, &adapter).error_code(),
            grpc::StatusCode::NOT_FOUND);
}

TEST_F(RegistryTest, WhatWasDeletedComesBackUntilItIsPurged) {
  ASSERT_TRUE(
      daemon_.Register(Metadata("a"), adapter_.safetensors, 1 << 20).ok());
  auto& stub = daemon_.registry();
  const auto remove = [&](bool purge, v1::DeleteAdapterResponse* response) {
    grpc::ClientContext context;
    v1::DeleteAdapterRequest request;
    request.set_adapter("a@1");
    request.set_purge(purge);
    return stub.DeleteAdapter(&context, request, response);
  };
  const auto undelete = [&](v1::Adapter* adapter) {
    grpc::ClientContext context;
    v1::UndeleteAdapterRequest request;
    request.set_adapter("a@1");
    return stub.UndeleteAdapter(&context, request, adapter);
  };
  v1::DeleteAdapterResponse response;
  ASSERT_TRUE(remove(false, &response).ok());
  EXPECT_TRUE(response.has_purge_time());
  {
    grpc::ClientContext context;
    v1::ListAdaptersRequest request;
    request.set_deleted(true);
    v1::ListAdaptersResponse page;
    ASSERT_TRUE(stub.ListAdapters(&context, request, &page).ok());
    ASSERT_EQ(page.adapters_size(), 1);
    EXPECT_EQ(page.adapters(0).purge_time().seconds(),
              page.adapters(0).delete_time().seconds() + 24 * 3600);
    EXPECT_EQ(page.adapters(0).purge_time().SerializeAsString(),
              response.purge_time().SerializeAsString());
  }
  v1::Adapter adapter;
  ASSERT_TRUE(undelete(&adapter).ok());
  EXPECT_EQ(adapter.name(), "a");
  EXPECT_FALSE(adapter.has_purge_time());
  ASSERT_TRUE(remove(false, &response).ok());
  ASSERT_TRUE(remove(true, &response).ok());
  EXPECT_EQ(undelete(&adapter).error_code(), grpc::StatusCode::NOT_FOUND);
  ExpectNothingStored();
}

TEST_F(RegistryTest, EmptyOneByteTruncatedAndOversizedUploads) {
  const std::string& whole = adapter_.safetensors;
  ExpectRefused(Metadata("a"), "", kInvalid, "0");
  ExpectRefused(Metadata("a"), "x", kInvalid, "");
  ExpectRefused(Metadata("a"), whole.substr(0, whole.size() - 1), kInvalid,
                absl::StrCat(whole.size()));
  ExpectRefused(Metadata("a"), whole + "x", kInvalid, "");
  v1::AdapterMetadata empty = Metadata("a");
  empty.set_size_bytes(0);
  ExpectRefused(empty, "", kInvalid, "");
  v1::AdapterMetadata huge = Metadata("a");
  huge.set_size_bytes(uint64_t{1} << 60);
  const grpc::Status status = daemon_.Register(huge, whole, 1 << 20);
  EXPECT_FALSE(status.ok());
  ExpectNothingStored();
}

TEST_F(RegistryTest, WrongHashIsRefused) {
  v1::AdapterMetadata metadata = Metadata("a");
  metadata.set_sha256(std::string(64, '0'));
  ExpectRefused(metadata, adapter_.safetensors, kInvalid, "");
  metadata.set_sha256("zz");
  ExpectRefused(metadata, adapter_.safetensors, kInvalid, "sha256");
}

TEST_F(RegistryTest, NamesThatAreNoNamesAreRefused) {
  for (const std::string& name :
       {std::string("../x"), std::string("a\0b", 3), std::string("a\nb"),
        std::string(10'000, 'a'), std::string(), std::string("A"),
        std::string("a/b/c"), std::string("a//b"), std::string("/a"),
        std::string("a/"), std::string("a.b/c"), std::string("default/a"),
        std::string("a/.."), std::string("a@1")}) {
    ExpectRefused(Metadata(name), adapter_.safetensors, kInvalid, "name");
  }
}

TEST_F(RegistryTest, OneByteChunksAreAllRight) {
  ASSERT_TRUE(daemon_.Register(Metadata("a"), adapter_.safetensors, 1).ok());
}

TEST_F(RegistryTest, ChunkBeyondItsBoundIsRefused) {
  const std::string big((1 << 20) + 1, 'x');
  v1::AdapterMetadata metadata = Metadata("a");
  metadata.set_size_bytes(big.size());
  ExpectRefused(metadata, big, kInvalid, "chunk", big.size());
}

TEST_F(RegistryTest, HeaderOfAHundredMegabytesIsRefusedAtItsFirstBytes) {
  std::string bytes(16, ' ');
  const uint64_t header = 100'000'000;
  for (int i = 0; i < 8; ++i) {
    bytes[i] = static_cast<char>(header >> (8 * i));
  }
  v1::AdapterMetadata metadata = Metadata("a");
  metadata.set_size_bytes(header + 8);
  ExpectRefused(metadata, bytes, kInvalid, "header");
}

TEST_F(RegistryTest, NanWeightsAreRefused) {
  std::string bytes = adapter_.safetensors;
  bytes.replace(bytes.size() - 4, 4, std::string("\0\0\xc0\x7f", 4));
  TinyAdapter nan{adapter_.config, bytes};
  ExpectRefused(TestDaemon::MetadataOf("a", nan), bytes, kInvalid, "lora_B");
}

TEST_F(RegistryTest, PickleIsRefusedWithTheCure) {
  std::string bytes = "PK\x03\x04" + std::string(100, 'x');
  TinyAdapter pickle{adapter_.config, bytes};
  ExpectRefused(TestDaemon::MetadataOf("a", pickle), bytes, kInvalid,
                "safetensors");
}

TEST_F(RegistryTest, MetadataMustComeFirstAndOnce) {
  v1::RegisterAdapterResponse response;
  {
    grpc::ClientContext context;
    auto stream = daemon_.registry().RegisterAdapter(&context, &response);
    v1::RegisterAdapterRequest request;
    request.set_chunk("abc");
    stream->Write(request);
    EXPECT_EQ(stream->Finish().error_code(), kInvalid);
  }
  {
    grpc::ClientContext context;
    auto stream = daemon_.registry().RegisterAdapter(&context, &response);
    v1::RegisterAdapterRequest request;
    *request.mutable_metadata() = Metadata("a");
    stream->Write(request);
    stream->Write(request);
    EXPECT_EQ(stream->Finish().error_code(), kInvalid);
  }
  ExpectNothingStored();
}

TEST_F(RegistryTest, UploadThatIsCancelledLeavesNothing) {
  v1::RegisterAdapterResponse response;
  {
    grpc::ClientContext context;
    auto stream = daemon_.registry().RegisterAdapter(&context, &response);
    v1::RegisterAdapterRequest request;
    *request.mutable_metadata() = Metadata("a");
    stream->Write(request);
    request.set_chunk(adapter_.safetensors);
    stream->Write(request);
    context.TryCancel();
    EXPECT_FALSE(stream->Finish().ok());
  }
  for (int i = 0; i < 2000 && *daemon_.store().CountChunks() > 0; ++i) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  ExpectNothingStored();
}

TEST(RegistryIdleTest, UploadThatGoesSilentIsCut) {
  TestDaemon daemon(absl::Milliseconds(200));
  const TinyAdapter adapter = daemon.MakeAdapter(1);
  v1::RegisterAdapterResponse response;
  grpc::ClientContext context;
  auto stream = daemon.registry().RegisterAdapter(&context, &response);
  v1::RegisterAdapterRequest request;
  *request.mutable_metadata() = TestDaemon::MetadataOf("a", adapter);
  stream->Write(request);
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(daemon.store().Stats().num_adapters, 0u);
}

}  // namespace
}  // namespace stockpot
