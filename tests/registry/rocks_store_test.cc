// What RocksStore does beyond the AdapterStore contract: durability over a
// reopen, damage on disk, cleaning up, memory.

#include "registry/rocks_store.h"

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/config.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rocksdb/db.h"

#include "proto/stockpot/v1/storage.pb.h"

#include "base/sha256.h"
#include "registry/adapter_store.h"
#include "registry/key_codec.h"
#include "registry/store_audit.h"
#include "tests/registry/rocks_store_fixture.h"
#include "tests/registry/store_fixture.h"
#include "tests/testing/status_matchers.h"

namespace stockpot::testing {
namespace {

using ::testing::_;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr auto kDataLoss = absl::StatusCode::kDataLoss;

TEST_F(RocksStoreTest, EverythingSurvivesAReopen) {
  ASSERT_THAT(Open(), IsOk());
  const std::string bytes = RandomBytes(3 * kMiB + 5, 1);
  UploadSpec spec = SpecFor("sql", bytes);
  spec.labels = {{"a", "b"}};
  spec.card = "card";
  ASSERT_THAT(Store(*store_, spec, bytes), IsOk());
  ASSERT_THAT(Store(*store_, "sql", "two"), IsOk());
  ASSERT_THAT(store_->SetAlias("sql", "prod", 1), IsOk());
  const StoreStats before = store_->Stats();
  for (int i = 0; i < 3; ++i) {
    ASSERT_THAT(Open(), IsOk());
    const absl::StatusOr<AdapterRecord> record = store_->Get(Ref("sql@prod"));
    ASSERT_THAT(record, IsOk());
    EXPECT_EQ(record->labels, spec.labels);
    EXPECT_EQ(record->card, "card");
    EXPECT_THAT(record->aliases, ElementsAre("prod"));
    EXPECT_THAT(ReadBlob(*store_, record->digest), IsOkAndHolds(bytes));
    EXPECT_EQ(store_->Stats().num_adapters, before.num_adapters);
    EXPECT_EQ(store_->Stats().num_names, before.num_names);
    EXPECT_EQ(store_->Stats().bytes, before.bytes);
    EXPECT_EQ(store_->Stats().num_damaged, 0u);
  }
  // Upload ids go on where they were: nothing is overwritten.
  ASSERT_THAT(Store(*store_, "new", RandomBytes(2 * kMiB, 9)), IsOk());
  EXPECT_THAT(ReadBlob(*store_, store_->Get(Ref("sql@1"))->digest),
              IsOkAndHolds(bytes));
  EXPECT_EQ(Errors(), "");
}

TEST_F(RocksStoreTest, AnAbandonedUploadLeavesNoChunk) {
  ASSERT_THAT(Open(), IsOk());
  const std::string bytes = RandomBytes(5 * kMiB, 2);
  std::unique_ptr<Upload> upload =
      store_->BeginUpload(SpecFor("sql", bytes)).value();
  ASSERT_THAT(upload->Append(bytes), IsOk());
  EXPECT_THAT(store_->CountChunks(), IsOkAndHolds(5u));
  upload.reset();
  EXPECT_THAT(store_->CountChunks(), IsOkAndHolds(0u));
}

TEST_F(RocksStoreTest, ARefusedOrRepeatedUploadLeavesNoChunk) {
  ASSERT_THAT(Open(), IsOk());
  const std::string bytes = RandomBytes(2 * kMiB, 3);
  ASSERT_THAT(Store(*store_, "a", bytes), IsOk());
  ASSERT_THAT(Store(*store_, "b", bytes), IsOk());
  UploadSpec spec = SpecFor("c", bytes);
  spec.sha256 = Sha256::Of("other");
  ASSERT_THAT(Store(*store_, spec, bytes),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
  EXPECT_THAT(store_->CountChunks(), IsOkAndHolds(2u));
}

TEST_F(RocksStoreTest, ABlobGoesWithItsLastNameAndPin) {
  ASSERT_THAT(Open(), IsOk());
  const std::string bytes = RandomBytes(2 * kMiB, 4);
  ASSERT_THAT(Store(*store_, "a", bytes), IsOk());
  ASSERT_THAT(Store(*store_, "b", bytes), IsOk());
  absl::StatusOr<ResolvedAdapter> pinned = store_->Resolve(Ref("a"));
  ASSERT_THAT(pinned, IsOk());
  ASSERT_THAT(store_->Delete(Ref("a")), IsOk());
  store_->WaitForSweep();
  EXPECT_THAT(store_->CountChunks(), IsOkAndHolds(2u));
  ASSERT_THAT(store_->Delete(Ref("b")), IsOk());
  store_->WaitForSweep();
  EXPECT_THAT(store_->CountChunks(), IsOkAndHolds(2u));
  EXPECT_THAT(ReadBlob(*store_, pinned->digest), IsOkAndHolds(bytes));
  const Digest digest = pinned->digest;
  pinned->pin.reset();
  store_->WaitForSweep();
  EXPECT_THAT(store_->CountChunks(), IsOkAndHolds(0u));
  EXPECT_EQ(store_->Stats().bytes, 0u);
  EXPECT_THAT(store_->OpenBlob(digest).status(),
              StatusIs(absl::StatusCode::kNotFound, _));
}

TEST_F(RocksStoreTest, ContentUploadedAgainWhilePinnedStays) {
  ASSERT_THAT(Open(), IsOk());
  const std::string bytes = RandomBytes(kMiB, 5);
  const Digest digest = Store(*store_, "a", bytes)->record.digest;
  absl::StatusOr<ResolvedAdapter> pinned = store_->Resolve(Ref("a"));
  ASSERT_THAT(store_->Delete(Ref("a")), IsOk());
  ASSERT_THAT(Store(*store_, "b", bytes), IsOk());
  pinned->pin.reset();
  store_->WaitForSweep();
  EXPECT_THAT(ReadBlob(*store_, digest), IsOkAndHolds(bytes));
}

TEST_F(RocksStoreTest, DeletedBytesComeBackToTheDisk) {
  ASSERT_THAT(Open(), IsOk());
  for (int i = 0; i < 4; ++i) {
    ASSERT_THAT(Store(*store_, absl::StrCat("a", i), RandomBytes(16 * kMiB, i)),
                IsOk());
  }
  ASSERT_THAT(store_->Flush(), IsOk());
  ASSERT_GT(BytesOf(".blob"), 60 * kMiB);
  for (int i = 0; i < 3; ++i) {
    ASSERT_THAT(store_->Delete(Ref(absl::StrCat("a", i))), IsOk());
  }
  store_->WaitForSweep();
  // Files go in the background, a moment later.
  for (int i = 0; i < 100 && BytesOf(".blob") > 40 * kMiB; ++i) {
    absl::SleepFor(absl::Milliseconds(50));
  }
  EXPECT_LT(BytesOf(".blob"), 40 * kMiB);
  EXPECT_THAT(ReadBlob(*store_, store_->Get(Ref("a3"))->digest), IsOk());
}

TEST_F(RocksStoreTest, ChunksOfDeadUploadsGoAtOpen) {
  ASSERT_THAT(Open(), IsOk());
  ASSERT_THAT(Store(*store_, "a", RandomBytes(kMiB, 6)), IsOk());
  Edit([](rocksdb::DB& db) {
    for (uint32_t i = 0; i < 3; ++i) {
      db.Put({}, ChunkKey({77, i}), "chunk");
      db.Put({}, ChunkSizeKey({77, i}), EncodeSize(5));
    }
    storage::v1::BlobHeader header;
    header.set_upload_id(77);
    db.Put({}, BlobKey(Sha256::Of("nobody")), header.SerializeAsString());
  });
  ASSERT_THAT(Open(), IsOk());
  EXPECT_THAT(store_->CountChunks(), IsOkAndHolds(1u));
  EXPECT_THAT(store_->OpenBlob(Sha256::Of("nobody")).status(),
              StatusIs(absl::StatusCode::kNotFound, _));
  EXPECT_THAT(ReadBlob(*store_, store_->Get(Ref("a"))->digest), IsOk());
}

TEST_F(RocksStoreTest, AMissingChunkQuarantinesItsAdapterUntilUploadedAgain) {
  ASSERT_THAT(Open(), IsOk());
  const std::string bytes = RandomBytes(3 * kMiB, 7);
  const Digest digest = Store(*store_, "a", bytes)->record.digest;
  ASSERT_THAT(Store(*store_, "b", "fine"), IsOk());
  Edit([](rocksdb::DB& db) {
    db.Delete({}, ChunkKey({1, 1}));
    db.Delete({}, ChunkSizeKey({1, 1}));
  });
  ASSERT_THAT(Open(), IsOk());
  EXPECT_THAT(Errors(), HasSubstr(digest.ToString()));
  EXPECT_EQ(store_->Stats().num_damaged, 1u);
  EXPECT_THAT(store_->Get(Ref("a")),
              StatusIs(kDataLoss, HasSubstr("upload the same content again")));
  EXPECT_THAT(store_->Resolve(Ref("a")), StatusIs(kDataLoss, _));
  EXPECT_THAT(store_->OpenBlob(digest).status(), StatusIs(kDataLoss, _));
  EXPECT_THAT(store_->Get(Ref("b")), IsOk());
  const absl::StatusOr<AdapterPage> page = store_->List({});
  ASSERT_THAT(page, IsOk());
  ASSERT_EQ(page->records.size(), 2u);
  EXPECT_TRUE(page->records[0].damaged);
  EXPECT_FALSE(page->records[1].damaged);

  UploadSpec spec = SpecFor("a", bytes);
  spec.version = 1;
  const absl::StatusOr<CommitResult> healed = Store(*store_, spec, bytes);
  ASSERT_THAT(healed, IsOk());
  EXPECT_FALSE(healed->already_stored);
  EXPECT_EQ(store_->Stats().num_damaged, 0u);
  EXPECT_EQ(store_->Stats().bytes, bytes.size() + 4);
  EXPECT_THAT(ReadBlob(*store_, digest), IsOkAndHolds(bytes));
  ASSERT_THAT(Open(), IsOk());
  EXPECT_THAT(ReadBlob(*store_, digest), IsOkAndHolds(bytes));
  EXPECT_THAT(store_->CountChunks(), IsOkAndHolds(4u));
}

TEST_F(RocksStoreTest, AQuarantinedAdapterCanBeDeleted) {
  ASSERT_THAT(Open(), IsOk());
  const std::string bytes = RandomBytes(2 * kMiB, 8);
  const Digest digest = Store(*store_, "a", bytes)->record.digest;
  Edit([&](rocksdb::DB& db) { db.Delete({}, BlobKey(digest)); });
  ASSERT_THAT(Open(), IsOk());
  EXPECT_THAT(store_->Get(Ref("a")), StatusIs(kDataLoss, _));
  ASSERT_THAT(store_->Delete(Ref("a")), IsOk());
  store_->WaitForSweep();
  EXPECT_EQ(store_->Stats().num_damaged, 0u);
  EXPECT_EQ(store_->Stats().num_adapters, 0u);
  EXPECT_FALSE(Store(*store_, "a", bytes)->already_stored);
  EXPECT_THAT(ReadBlob(*store_, digest), IsOkAndHolds(bytes));
}

TEST_F(RocksStoreTest, AFlippedBitInABlobFileIsDataLossAndQuarantines) {
  ASSERT_THAT(Open(), IsOk());
  const std::string bytes = RandomBytes(3 * kMiB, 9);
  const Digest digest = Store(*store_, "a", bytes)->record.digest;
  ASSERT_THAT(store_->Flush(), IsOk());
  store_.reset();
  const std::vector<fs::path> files = Files(".blob");
  ASSERT_EQ(files.size(), 1u);
  FlipBit(files[0], fs::file_size(files[0]) / 2);
  ASSERT_THAT(Open(), IsOk());
  std::unique_ptr<BlobReader> reader = store_->OpenBlob(digest).value();
  const absl::StatusOr<std::string> read = ReadAll(*reader);
  EXPECT_THAT(read, StatusIs(kDataLoss, Not(HasSubstr(path_))));
  EXPECT_THAT(store_->Get(Ref("a")), StatusIs(kDataLoss, _));
  ASSERT_THAT(Store(*store_, "a", bytes), IsOk());
  EXPECT_THAT(ReadBlob(*store_, digest), IsOkAndHolds(bytes));
  // What a reader of the old chunks finds does not touch the healed blob.
  std::string all(bytes.size(), '\0');
  EXPECT_THAT(reader->ReadAt(0, absl::MakeSpan(all)), StatusIs(kDataLoss, _));
  EXPECT_THAT(store_->Get(Ref("a")), IsOk());
}

TEST_F(RocksStoreTest, AFlippedBitInTheLogRefusesToOpen) {
  ASSERT_THAT(Open(), IsOk());
  ASSERT_THAT(Store(*store_, "a", RandomBytes(3 * kMiB, 10)), IsOk());
  ASSERT_THAT(Store(*store_, "b", RandomBytes(3 * kMiB, 11)), IsOk());
  store_.reset();
  const std::vector<fs::path> files = Files(".log");
  ASSERT_EQ(files.size(), 1u);
  FlipBit(files[0], 2 * kMiB);
  EXPECT_THAT(Open(), StatusIs(kDataLoss, _));
}

TEST_F(RocksStoreTest, DamageBehindTheLastAcknowledgementDropsOnlyTheRest) {
  ASSERT_THAT(Open(), IsOk());
  const std::string bytes = RandomBytes(kMiB, 10);
  ASSERT_THAT(Store(*store_, "a", bytes), IsOk());
  std::unique_ptr<Upload> upload =
      store_->BeginUpload(SpecFor("b", RandomBytes(3 * kMiB, 11))).value();
  ASSERT_THAT(upload->Append(RandomBytes(3 * kMiB, 11)), IsOk());
  // As a power failure leaves it: the upload's chunks in part.
  const fs::path copy = dir_.path() + "/copy";
  fs::copy(path_, copy);
  upload.reset();
  path_ = copy;
  const std::vector<fs::path> files = Files(".log");
  ASSERT_EQ(files.size(), 1u);
  FlipBit(files[0], fs::file_size(files[0]) - 2 * kMiB);
  ASSERT_THAT(Open(), IsOk());
  EXPECT_THAT(ReadBlob(*store_, store_->Get(Ref("a"))->digest),
              IsOkAndHolds(bytes));
  EXPECT_THAT(store_->CountChunks(), IsOkAndHolds(1u));
}

TEST_F(RocksStoreTest, ALostLogIsNoticed) {
  ASSERT_THAT(Open(), IsOk());
  ASSERT_THAT(Store(*store_, "a", "one"), IsOk());
  ASSERT_THAT(store_->Flush(), IsOk());
  ASSERT_THAT(Store(*store_, "b", "two"), IsOk());
  store_.reset();
  for (const fs::path& file : Files(".log")) {
    fs::remove(file);
  }
  for (int attempt = 0; attempt < 2; ++attempt) {
    EXPECT_THAT(Open(), StatusIs(kDataLoss, HasSubstr("3 were made and it "
                                                      "holds the first 2")));
  }
  // An operator may decide to live with the loss.
  ASSERT_TRUE(fs::remove(path_ + "/WITNESS"));
  ASSERT_THAT(Open(), IsOk());
  EXPECT_THAT(store_->Get(Ref("a")), IsOk());
}

TEST_F(RocksStoreTest, AnIndexEntryLostFromTheMiddleIsNoticed) {
  ASSERT_THAT(Open(), IsOk());
  ASSERT_THAT(Store(*store_, "a", "one"), IsOk());
  ASSERT_THAT(Store(*store_, "b", "two"), IsOk());
  Edit([](rocksdb::DB& db) { db.Delete({}, ManifestKey({"a", 1})); });
  EXPECT_THAT(Open(),
              StatusIs(kDataLoss, HasSubstr("holds 1 names and aliases where 2 "
                                            "were written")));
}

TEST_F(RocksStoreTest, ALostCurrentFileIsNotANewRegistry) {
  ASSERT_THAT(Open(), IsOk());
  ASSERT_THAT(Store(*store_, "a", RandomBytes(kMiB, 10)), IsOk());
  ASSERT_THAT(store_->Flush(), IsOk());
  store_.reset();
  ASSERT_TRUE(fs::remove(path_ + "/CURRENT"));
  EXPECT_THAT(Open(), StatusIs(kDataLoss, HasSubstr("CURRENT is missing")));
  EXPECT_EQ(Files(".blob").size(), 1u);
}

TEST_F(RocksStoreTest, ARegistryFromBeforeTheSealGetsOne) {
  ASSERT_THAT(Open(), IsOk());
  ASSERT_THAT(Store(*store_, "a", "one"), IsOk());
  Edit([](rocksdb::DB& db) { db.Delete({}, std::string(kSealKey)); });
  ASSERT_TRUE(fs::remove(path_ + "/WITNESS"));
  ASSERT_THAT(Open(), IsOk());
  EXPECT_THAT(store_->Get(Ref("a")), IsOk());
  Edit([](rocksdb::DB& db) { db.Delete({}, ManifestKey({"a", 1})); });
  EXPECT_THAT(Open(), StatusIs(kDataLoss, _));
}

TEST_F(RocksStoreTest, AFlippedBitInATableIsDataLoss) {
  ASSERT_THAT(Open(), IsOk());
  ASSERT_THAT(Store(*store_, "a", RandomBytes(3 * kMiB, 12)), IsOk());
  ASSERT_THAT(store_->Flush(), IsOk());
  store_.reset();
  for (const fs::path& file : Files(".sst")) {
    FlipBit(file, 100);
  }
  EXPECT_THAT(Open(), StatusIs(kDataLoss, _));
}

TEST_F(RocksStoreTest, AShortBlobFileQuarantinesOnlyItsAdapters) {
  ASSERT_THAT(Open(), IsOk());
  const std::string bytes = RandomBytes(3 * kMiB, 13);
  ASSERT_THAT(Store(*store_, "a", bytes), IsOk());
  ASSERT_THAT(store_->Flush(), IsOk());
  const std::vector<fs::path> first = Files(".blob");
  ASSERT_EQ(first.size(), 1u);
  ASSERT_THAT(Store(*store_, "b", RandomBytes(3 * kMiB, 14)), IsOk());
  ASSERT_THAT(store_->Flush(), IsOk());
  store_.reset();
  fs::resize_file(first[0], fs::file_size(first[0]) / 2);
  ASSERT_THAT(Open(), IsOk());
  EXPECT_THAT(store_->Get(Ref("a")), StatusIs(kDataLoss, _));
  EXPECT_THAT(ReadBlob(*store_, store_->Get(Ref("b"))->digest), IsOk());
  ASSERT_THAT(Store(*store_, "a", bytes), IsOk());
  EXPECT_THAT(ReadBlob(*store_, store_->Get(Ref("a"))->digest),
              IsOkAndHolds(bytes));
}

TEST_F(RocksStoreTest, AMissingBlobFileQuarantinesOnlyItsAdapters) {
  ASSERT_THAT(Open(), IsOk());
  ASSERT_THAT(Store(*store_, "a", RandomBytes(3 * kMiB, 13)), IsOk());
  ASSERT_THAT(store_->Flush(), IsOk());
  const std::vector<fs::path> first = Files(".blob");
  ASSERT_EQ(first.size(), 1u);
  ASSERT_THAT(Store(*store_, "b", RandomBytes(3 * kMiB, 14)), IsOk());
  ASSERT_THAT(store_->Flush(), IsOk());
  store_.reset();
  fs::remove(first[0]);
  ASSERT_THAT(Open(), IsOk());
  EXPECT_THAT(store_->Get(Ref("a")), StatusIs(kDataLoss, _));
  EXPECT_THAT(ReadBlob(*store_, store_->Get(Ref("b"))->digest), IsOk());
}

TEST_F(RocksStoreTest, ANewerFormatIsRefusedInWords) {
  ASSERT_THAT(Open(), IsOk());
  Edit([](rocksdb::DB& db) {
    storage::v1::StoreFormat format;
    format.set_version(kStoreFormat + 1);
    db.Put({}, std::string(kFormatKey), format.SerializeAsString());
  });
  EXPECT_THAT(
      Open(),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               AllOf(HasSubstr(absl::StrCat("format ", kStoreFormat + 1)),
                     HasSubstr(absl::StrCat("up to ", kStoreFormat)))));
}

TEST_F(RocksStoreTest, AForeignDatabaseIsRefused) {
  fs::create_directories(path_);
  Edit([](rocksdb::DB& db) { db.Put({}, "key", "value"); });
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               HasSubstr("Stockpot did not write")));
}

TEST_F(RocksStoreTest, TwoStoresDoNotShareAFolder) {
  ASSERT_THAT(Open(), IsOk());
  EXPECT_THAT(RocksStore::Open(Options()).status(),
              StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_THAT(Store(*store_, "a", "fine"), IsOk());
}

TEST_F(RocksStoreTest, AFolderThatCannotBeMadeIsNamed) {
  std::ofstream(dir_.path() + "/file") << "x";
  path_ = dir_.path() + "/file/db";
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               HasSubstr(path_)));
}

TEST_F(RocksStoreTest, TimesComeFromTheClock) {
  RocksStoreOptions options = Options();
  options.clock = [] { return absl::FromUnixSeconds(1'700'000'000); };
  ASSERT_THAT(Open(options), IsOk());
  EXPECT_EQ(Store(*store_, "a", "x")->record.create_time,
            absl::FromUnixSeconds(1'700'000'000));
}

// Resident bytes of this process.
uint64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t total = 0;
  uint64_t resident = 0;
  statm >> total >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

#if defined(ABSL_HAVE_ADDRESS_SANITIZER) || defined(ABSL_HAVE_THREAD_SANITIZER)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

TEST_F(RocksStoreTest, AHundredMegabytesUploadCostsAtMost64MiBOfMemory) {
  if (kSanitized) {
    GTEST_SKIP() << "a sanitizer's own memory would be measured";
  }
  ASSERT_THAT(Open(), IsOk());
  constexpr size_t kPieces = 1600;
  const std::string piece = RandomBytes(64 << 10, 15);
  Sha256 hash;
  for (size_t i = 0; i < kPieces; ++i) {
    hash.Update(piece);
  }
  UploadSpec spec = SpecFor("big", "x");
  spec.size_bytes = kPieces * piece.size();
  spec.sha256 = hash.Finish();
  const uint64_t before = ResidentBytes();
  uint64_t peak = before;
  {
    std::unique_ptr<Upload> upload = store_->BeginUpload(spec).value();
    for (size_t i = 0; i < kPieces; ++i) {
      ASSERT_THAT(upload->Append(piece), IsOk());
      peak = std::max(peak, ResidentBytes());
    }
    std::string part(kMiB, '\0');
    for (uint64_t at = 0; at < spec.size_bytes; at += part.size()) {
      ASSERT_THAT(upload->ReadAt(at, absl::MakeSpan(part)), IsOk());
    }
    ASSERT_THAT(upload->Commit(SomeFacts()), IsOk());
    peak = std::max(peak, ResidentBytes());
  }
  std::printf("peak: %lld MiB above the start\n",
              static_cast<long long>((peak - before) / kMiB));
  EXPECT_LE(peak - before, 64 * kMiB);
}

}  // namespace
}  // namespace stockpot::testing
