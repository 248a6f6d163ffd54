// Uploads that go wrong in every way a network or a client can think of, over
// gRPC against a daemon: the adapter is whole or absent, no byte of it stays
// behind, and the daemon answers as it did before.

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <grpcpp/grpcpp.h>

#include "registry/adapter_store.h"
#include "tests/faults/fault_form.h"
#include "tests/registry/store_fixture.h"
#include "tests/server/test_daemon.h"
#include "tests/testing/status_matchers.h"

namespace stockpot::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

constexpr size_t kMiB = size_t{1} << 20;

// A sanitizer keeps freed memory for a while, and so says nothing of ours.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kMemoryIsOurs = false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
constexpr bool kMemoryIsOurs = false;
#else
constexpr bool kMemoryIsOurs = true;
#endif
#else
constexpr bool kMemoryIsOurs = true;
#endif

// Resident bytes of this process.
uint64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t size = 0;
  uint64_t resident = 0;
  statm >> size >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

void ExpectAtMost(uint64_t resident_bytes, uint64_t most) {
  if (kMemoryIsOurs) {
    EXPECT_LE(resident_bytes, most);
  }
}

class TornUploadTest : public ::testing::Test {
 protected:
  // One RegisterAdapter stream.
  class Stream {
   public:
    explicit Stream(TestDaemon& daemon,
                    absl::Duration deadline = absl::InfiniteDuration()) {
      if (deadline != absl::InfiniteDuration()) {
        context_.set_deadline(absl::ToChronoTime(absl::Now() + deadline));
      }
      writer_ = daemon.registry().RegisterAdapter(&context_, &response_);
    }
    bool Metadata(const v1::AdapterMetadata& metadata) {
      v1::RegisterAdapterRequest request;
      *request.mutable_metadata() = metadata;
      return writer_->Write(request);
    }
    bool Chunk(absl::string_view bytes) {
      v1::RegisterAdapterRequest request;
      request.set_chunk(std::string(bytes));
      return writer_->Write(request);
    }
    void Cancel() { context_.TryCancel(); }
    grpc::Status End() {
      writer_->WritesDone();
      return writer_->Finish();
    }
    grpc::Status Finish() { return writer_->Finish(); }

   private:
    grpc::ClientContext context_;
    v1::RegisterAdapterResponse response_;
    std::unique_ptr<grpc::ClientWriter<v1::RegisterAdapterRequest>> writer_;
  };

  void SetUp() override {
    answer_ = Answer();
    // The answer's sequence may end a little after the answer.
    const absl::Time give_up = absl::Now() + absl::Minutes(1);
    do {
      gauges_ = Gauges();
    } while (!absl::c_linear_search(gauges_, "stockpot_running_sequences 0") &&
             absl::Now() < give_up);
    ASSERT_THAT(gauges_, IsSupersetOf({"stockpot_running_sequences 0",
                                       "stockpot_queued_sequences 0",
                                       "stockpot_kv_cache_used_blocks 0"}));
  }

  std::string Answer() {
    const TestDaemon::Answer answer =
        daemon_.Generate(TestDaemon::Letters("ab", 8));
    EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
    return answer.text;
  }

  // "name value" of every gauge but the process's.
  std::vector<std::string> Gauges() {
    std::vector<std::string> gauges;
    std::string type;
    for (const absl::string_view line :
         absl::StrSplit(daemon_.metrics().Scrape(), '\n')) {
      if (absl::StartsWith(line, "# TYPE")) {
        type = std::string(line);
      } else if (absl::EndsWith(type, " gauge") &&
                 absl::StartsWith(line, "stockpot_")) {
        gauges.emplace_back(line);
      }
    }
    return gauges;
  }

  // The pieces of `adapter_` as a client sends them.
  std::vector<std::string> Chunks() const {
    std::vector<std::string> chunks;
    for (size_t at = 0; at < adapter_.safetensors.size(); at += kPiece) {
      chunks.push_back(adapter_.safetensors.substr(at, kPiece));
    }
    return chunks;
  }

  v1::AdapterMetadata Metadata() const {
    return TestDaemon::MetadataOf("torn", adapter_);
  }

  // Sends `chunks` in order and ends the stream.
  grpc::Status Send(const std::vector<std::string>& chunks) {
    Stream stream(daemon_);
    bool open = stream.Metadata(Metadata());
    for (size_t i = 0; open && i < chunks.size(); ++i) {
      open = stream.Chunk(chunks[i]);
    }
    return stream.End();
  }

  // Nothing of "torn" is there, or all of it, which then is purged. Waits for
  // the server, which may hear of a cut later than we cut.
  void ExpectWholeOrAbsent() {
    const absl::Time give_up = absl::Now() + absl::Minutes(1);
    const absl::StatusOr<AdapterRecord> record =
        daemon_.store().Get(Ref("torn"));
    if (record.ok()) {
      EXPECT_THAT(ReadBlob(daemon_.store(), record->digest),
                  IsOkAndHolds(adapter_.safetensors));
      EXPECT_THAT(daemon_.store().Purge(Ref("torn")), IsOk());
      daemon_.store().WaitForSweep();
      ++num_whole_;
    } else {
      EXPECT_TRUE(absl::IsNotFound(record.status())) << record.status();
    }
    while (*daemon_.store().CountChunks() > 0 && absl::Now() < give_up) {
      absl::SleepFor(absl::Milliseconds(1));
    }
    EXPECT_THAT(daemon_.store().CountChunks(), IsOkAndHolds(0u));
    EXPECT_EQ(daemon_.store().Stats().num_adapters, 0u);
    ++num_cases_;
  }

  void ExpectAbsent() {
    const int num_whole = num_whole_;
    ExpectWholeOrAbsent();
    EXPECT_EQ(num_whole_, num_whole);
  }

  // The daemon is as it was: same answer, same gauges, takes the upload.
  void TearDown() override {
    EXPECT_EQ(Answer(), answer_);
    const absl::Time give_up = absl::Now() + absl::Minutes(1);
    while (Gauges() != gauges_ && absl::Now() < give_up) {
      absl::SleepFor(absl::Milliseconds(5));
    }
    EXPECT_EQ(Gauges(), gauges_);
    EXPECT_TRUE(
        daemon_.Register(Metadata(), adapter_.safetensors, kPiece).ok());
    const absl::StatusOr<AdapterRecord> record =
        daemon_.store().Get(Ref("torn"));
    ASSERT_THAT(record, IsOk());
    EXPECT_THAT(ReadBlob(daemon_.store(), record->digest),
                IsOkAndHolds(adapter_.safetensors));
    std::printf("%d cases, %d of them whole\n", num_cases_, num_whole_);
  }

  static constexpr size_t kPiece = 700;
  TestDaemon daemon_{absl::Seconds(60)};
  const TinyAdapter adapter_ = daemon_.MakeAdapter(1);
  std::string answer_;
  std::vector<std::string> gauges_;
  int num_cases_ = 0;
  int num_whole_ = 0;
};

TEST_F(TornUploadTest, CutAtEveryBorderAndInEveryChunk) {
  const std::vector<std::string> chunks = Chunks();
  ASSERT_GE(chunks.size(), 8u);
  for (size_t sent = 0; sent <= chunks.size(); ++sent) {
    for (const bool in_the_middle : {false, true}) {
      for (const bool cancel : {false, true}) {
        Stream stream(daemon_);
        bool open = stream.Metadata(Metadata());
        for (size_t i = 0; open && i < sent; ++i) {
          open = stream.Chunk(chunks[i]);
        }
        if (in_the_middle && sent < chunks.size()) {
          stream.Chunk(chunks[sent].substr(0, chunks[sent].size() / 2));
        }
        if (cancel) {
          stream.Cancel();
        }
        const grpc::Status status = cancel ? stream.Finish() : stream.End();
        if (sent < chunks.size()) {
          EXPECT_EQ(status.error_code(),
                    cancel ? grpc::CANCELLED : grpc::INVALID_ARGUMENT)
              << status.error_message();
          ExpectAbsent();
        } else {
          ExpectWholeOrAbsent();
        }
      }
    }
  }
}

TEST_F(TornUploadTest, DuplicatedReorderedAndDroppedChunks) {
  const std::vector<std::string> good = Chunks();
  for (size_t i = 0; i < good.size(); ++i) {
    std::vector<std::string> duplicated = good;
    duplicated.insert(duplicated.begin() + i, good[i]);
    std::vector<std::string> dropped = good;
    dropped.erase(dropped.begin() + i);
    for (const std::vector<std::string>& chunks : {duplicated, dropped}) {
      EXPECT_EQ(Send(chunks).error_code(), grpc::INVALID_ARGUMENT) << i;
      ExpectAbsent();
    }
    std::vector<std::string> reordered = good;
    std::swap(reordered[i], reordered[(i + 1) % good.size()]);
    std::vector<std::string> replaced = good;
    replaced[i] = good[(i + 1) % good.size()];
    for (const std::vector<std::string>& chunks : {reordered, replaced}) {
      if (absl::StrJoin(chunks, "") != adapter_.safetensors) {
        EXPECT_EQ(Send(chunks).error_code(), grpc::INVALID_ARGUMENT) << i;
        ExpectAbsent();
      }
    }
  }
}

TEST_F(TornUploadTest, WrongDeclarations) {
  const auto refused = [&](const v1::AdapterMetadata& metadata,
                           const std::string& bytes) {
    const grpc::Status status = daemon_.Register(metadata, bytes, kPiece);
    ExpectAbsent();
    EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
    return status.error_message();
  };
  v1::AdapterMetadata wrong_hash = Metadata();
  wrong_hash.set_sha256(std::string(64, '0'));
  EXPECT_THAT(refused(wrong_hash, adapter_.safetensors), HasSubstr("sha256"));
  v1::AdapterMetadata larger = Metadata();
  larger.set_size_bytes(larger.size_bytes() + 1);
  refused(larger, adapter_.safetensors);
  v1::AdapterMetadata smaller = Metadata();
  smaller.set_size_bytes(smaller.size_bytes() - 1);
  refused(smaller, adapter_.safetensors);
  EXPECT_THAT(refused(Metadata(), adapter_.safetensors + "x"),
              HasSubstr("size_bytes"));
}

TEST_F(TornUploadTest, OversizedChunksAndMessages) {
  v1::AdapterMetadata metadata = Metadata();
  metadata.set_size_bytes(64 * kMiB);
  for (const auto& [bytes, code] :
       {std::make_pair(kMiB + 1, grpc::INVALID_ARGUMENT),
        std::make_pair(7 * kMiB, grpc::RESOURCE_EXHAUSTED)}) {
    Stream stream(daemon_);
    ASSERT_TRUE(stream.Metadata(metadata));
    stream.Chunk(std::string(bytes, 'x'));
    EXPECT_EQ(stream.End().error_code(), code);
    ExpectAbsent();
  }
}

TEST_F(TornUploadTest, AHeaderThatClaimsAHundredMegabytes) {
  v1::AdapterMetadata metadata = Metadata();
  metadata.set_size_bytes(150 * kMiB);
  std::string claim(8, '\0');
  const uint64_t size = 100'000'000;
  for (int i = 0; i < 8; ++i) {
    claim[i] = static_cast<char>(size >> (8 * i));
  }
  const uint64_t before = ResidentBytes();
  Stream stream(daemon_);
  ASSERT_TRUE(stream.Metadata(metadata));
  bool open = stream.Chunk(claim);
  for (int i = 0; open && i < 100; ++i) {
    open = stream.Chunk(std::string(kMiB, ' '));
  }
  const grpc::Status status = stream.Finish();
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("100000000"));
  // Refused at its eighth byte: nothing was gathered.
  ExpectAtMost(ResidentBytes(), before + 60 * kMiB);
  ExpectAbsent();
}

// `adapter` with so many spaces after its header, which the format allows.
TinyAdapter Padded(TinyAdapter adapter, size_t spaces) {
  uint64_t header = 0;
  for (int i = 7; i >= 0; --i) {
    header = header << 8 | static_cast<uint8_t>(adapter.safetensors[i]);
  }
  adapter.safetensors.insert(8 + header, spaces, ' ');
  header += spaces;
  for (int i = 0; i < 8; ++i) {
    adapter.safetensors[i] = static_cast<char>(header >> (8 * i));
  }
  return adapter;
}

TEST_F(TornUploadTest, ManyTinyChunks) {
  const int num_chunks = Cycles(30'000, 1'000'000);
  const TinyAdapter adapter = Padded(adapter_, num_chunks);
  const std::string& bytes = adapter.safetensors;
  const uint64_t before = ResidentBytes();
  uint64_t most = before;
  Stream stream(daemon_);
  ASSERT_TRUE(stream.Metadata(TestDaemon::MetadataOf("tiny-chunks", adapter)));
  for (int i = 0; i < num_chunks; ++i) {
    ASSERT_TRUE(stream.Chunk(absl::string_view(&bytes[i], 1)));
    if (i % 1000 == 0) {
      most = std::max(most, ResidentBytes());
    }
  }
  ASSERT_TRUE(stream.Chunk(absl::string_view(bytes).substr(num_chunks)));
  EXPECT_TRUE(stream.End().ok());
  std::printf("%d chunks, %llu KiB above the start\n", num_chunks,
              static_cast<unsigned long long>((most - before) >> 10));
  // Measured: the server keeps nothing of a message that it has handled, so
  // their number needs no bound of its own; this client keeps 16 bytes.
  ExpectAtMost(most, before + 16 * kMiB + uint64_t{40} * num_chunks);
  EXPECT_THAT(daemon_.store().Purge(Ref("tiny-chunks")), IsOk());
  ExpectAbsent();
}

TEST_F(TornUploadTest, UploadsThatNeverEndHoldTwoChunksEach) {
  // As many as may be under way at once.
  constexpr int kUploads = 32;
  v1::AdapterMetadata metadata = Metadata();
  metadata.set_size_bytes(8 * kMiB);
  // A header that is never complete, so that no byte of it is refused.
  std::string start(kMiB - 8, ' ');
  start.insert(0, std::string("\xF0\xFF\x0F\0\0\0\0\0{", 9));
  const uint64_t before = ResidentBytes();
  std::vector<std::unique_ptr<Stream>> streams;
  for (int i = 0; i < kUploads; ++i) {
    streams.push_back(std::make_unique<Stream>(daemon_));
    metadata.set_name(absl::StrCat("never", i));
    ASSERT_TRUE(streams.back()->Metadata(metadata));
    ASSERT_TRUE(streams.back()->Chunk(start.substr(0, kMiB - 100)));
  }
  const std::string all_taken =
      absl::StrCat("registry_upload_bytes_total ", kUploads * (kMiB - 100));
  const absl::Time give_up = absl::Now() + absl::Minutes(1);
  while (!absl::StrContains(daemon_.metrics().Scrape(), all_taken) &&
         absl::Now() < give_up) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  EXPECT_EQ(daemon_.Register(Metadata(), "x", 1).error_code(),
            grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Answer(), answer_);  // While they hang.
  const uint64_t after = ResidentBytes();
  std::printf("%d unfinished uploads: %llu KiB each\n", kUploads,
              static_cast<unsigned long long>(
                  (std::max(after, before) - before) / kUploads >> 10));
  // A chunk in the store's hands, one in the validator's, and gRPC's own, on
  // both sides: the client is this process too.
  ExpectAtMost(after, before + kUploads * 4 * kMiB);
  for (const std::unique_ptr<Stream>& stream : streams) {
    stream->Cancel();
    EXPECT_EQ(stream->Finish().error_code(), grpc::CANCELLED);
  }
  ExpectAbsent();
}

TEST_F(TornUploadTest, ADeadlineInTheMiddle) {
  for (const int milliseconds : {0, 5, 50}) {
    Stream stream(daemon_, absl::Milliseconds(milliseconds));
    stream.Metadata(Metadata());
    stream.Chunk(adapter_.safetensors.substr(0, kPiece));
    EXPECT_EQ(stream.Finish().error_code(), grpc::DEADLINE_EXCEEDED);
    ExpectAbsent();
  }
}

TEST(SlowUploadTest, ASilentStreamIsCutASlowOneIsNot) {
  const absl::Duration idle = absl::Milliseconds(700);
  TestDaemon daemon(idle);
  const TinyAdapter adapter = daemon.MakeAdapter(1);
  const std::string& bytes = adapter.safetensors;
  v1::RegisterAdapterRequest metadata;
  *metadata.mutable_metadata() = TestDaemon::MetadataOf("slow", adapter);
  v1::RegisterAdapterRequest chunk;
  {
    grpc::ClientContext context;
    v1::RegisterAdapterResponse response;
    auto stream = daemon.registry().RegisterAdapter(&context, &response);
    ASSERT_TRUE(stream->Write(metadata));
    chunk.set_chunk(bytes.substr(0, 100));
    ASSERT_TRUE(stream->Write(chunk));
    EXPECT_EQ(stream->Finish().error_code(), grpc::DEADLINE_EXCEEDED);
    EXPECT_THAT(daemon.store().CountChunks(), IsOkAndHolds(0u));
  }
  grpc::ClientContext context;
  v1::RegisterAdapterResponse response;
  auto stream = daemon.registry().RegisterAdapter(&context, &response);
  ASSERT_TRUE(stream->Write(metadata));
  for (size_t i = 0; i < 40; ++i) {
    absl::SleepFor(idle / 20);
    chunk.set_chunk(i < 39 ? bytes.substr(i, 1) : bytes.substr(39));
    ASSERT_TRUE(stream->Write(chunk)) << i;
  }
  stream->WritesDone();
  const grpc::Status status = stream->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
}

}  // namespace
}  // namespace stockpot::testing
