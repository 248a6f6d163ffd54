// AdapterStore contract: uploads, from the first byte to the commit.

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/digest.h"
#include "base/sha256.h"
#include "registry/adapter_store.h"
#include "tests/registry/adapter_store_contract.h"
#include "tests/registry/store_fixture.h"
#include "tests/testing/status_matchers.h"

namespace stockpot::testing {
namespace {

using ::testing::_;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_P(AdapterStoreContract, StoredBytesAndFactsComeBack) {
  const std::string bytes = RandomBytes(2'500'000, 1);
  UploadSpec spec = SpecFor("sql", bytes);
  spec.labels = {{"team", "a"}};
  spec.description = "writes SQL";
  spec.card = "# Card";
  const absl::StatusOr<CommitResult> result = Store(*store_, spec, bytes);
  ASSERT_THAT(result, IsOk());
  EXPECT_FALSE(result->already_stored);
  EXPECT_EQ(result->record.version, 1);
  EXPECT_EQ(result->record.digest,
            ContentDigest(spec.adapter_config, spec.sha256));

  const absl::StatusOr<AdapterRecord> record = store_->Get(Ref("sql@1"));
  ASSERT_THAT(record, IsOk());
  EXPECT_EQ(record->safetensors_sha256, spec.sha256);
  EXPECT_EQ(record->adapter_config, spec.adapter_config);
  EXPECT_EQ(record->labels, spec.labels);
  EXPECT_EQ(record->description, "writes SQL");
  EXPECT_EQ(record->card, "# Card");
  EXPECT_EQ(record->size_bytes, bytes.size());
  EXPECT_EQ(record->facts.num_parameters, 1234u);
  EXPECT_EQ(record->facts.max_rank, 8u);
  EXPECT_EQ(record->facts.kept_energy, 0.97);
  EXPECT_THAT(record->facts.target_modules, ElementsAre("q_proj", "v_proj"));
  EXPECT_EQ(record->facts.base_model_digest, Sha256::Of("base"));
  EXPECT_GT(record->create_time, absl::UnixEpoch());
  EXPECT_THAT(ReadBlob(*store_, record->digest), IsOkAndHolds(bytes));
}

TEST_P(AdapterStoreContract, ReadAtGivesAnyRangeBeforeAndAfterTheCommit) {
  const std::string bytes = RandomBytes(2 * kBlobChunkBytes + 77, 2);
  absl::StatusOr<std::unique_ptr<Upload>> upload =
      store_->BeginUpload(SpecFor("sql", bytes));
  ASSERT_THAT(upload, IsOk());
  ASSERT_THAT((*upload)->Append(absl::string_view(bytes).substr(0, 1'500'000)),
              IsOk());
  std::string part(1'500'000, '\0');
  ASSERT_THAT((*upload)->ReadAt(0, absl::MakeSpan(part)), IsOk());
  EXPECT_EQ(part, bytes.substr(0, 1'500'000));
  EXPECT_THAT((*upload)->ReadAt(1, absl::MakeSpan(part)),
              StatusIs(absl::StatusCode::kOutOfRange, _));
  ASSERT_THAT((*upload)->Append(absl::string_view(bytes).substr(1'500'000)),
              IsOk());
  EXPECT_EQ((*upload)->received_bytes(), bytes.size());
  const absl::StatusOr<CommitResult> result = (*upload)->Commit(SomeFacts());
  ASSERT_THAT(result, IsOk());

  absl::StatusOr<std::unique_ptr<BlobReader>> reader =
      store_->OpenBlob(result->record.digest);
  ASSERT_THAT(reader, IsOk());
  EXPECT_EQ((*reader)->size_bytes(), bytes.size());
  EXPECT_EQ((*reader)->adapter_config(), result->record.adapter_config);
  std::string middle(kBlobChunkBytes + 20, '\0');
  ASSERT_THAT((*reader)->ReadAt(kBlobChunkBytes - 10, absl::MakeSpan(middle)),
              IsOk());
  EXPECT_EQ(middle, bytes.substr(kBlobChunkBytes - 10, middle.size()));
  EXPECT_THAT((*reader)->ReadAt(bytes.size(), {}), IsOk());
  EXPECT_THAT((*reader)->ReadAt(bytes.size() - 1, absl::MakeSpan(middle)),
              StatusIs(absl::StatusCode::kOutOfRange, _));
}

TEST_P(AdapterStoreContract, AHundredThousandOneByteAppendsAreOneBlob) {
  const std::string bytes = RandomBytes(100'000, 3);
  const absl::StatusOr<CommitResult> result =
      Store(*store_, SpecFor("sql", bytes), bytes, 1);
  ASSERT_THAT(result, IsOk());
  EXPECT_THAT(ReadBlob(*store_, result->record.digest), IsOkAndHolds(bytes));
}

TEST_P(AdapterStoreContract, NothingIsVisibleBeforeTheCommit) {
  const std::string bytes = RandomBytes(1000, 4);
  absl::StatusOr<std::unique_ptr<Upload>> upload =
      store_->BeginUpload(SpecFor("sql", bytes));
  ASSERT_THAT(upload, IsOk());
  ASSERT_THAT((*upload)->Append(bytes), IsOk());
  EXPECT_THAT(store_->Get(Ref("sql")),
              StatusIs(absl::StatusCode::kNotFound, _));
  EXPECT_THAT(ListAll({}), IsEmpty());
  EXPECT_THAT((*upload)->Commit(SomeFacts()), IsOk());
  EXPECT_THAT(ListAll({}), ElementsAre("sql@1"));
  EXPECT_THAT((*upload)->Commit(SomeFacts()),
              StatusIs(absl::StatusCode::kFailedPrecondition, _));
}

TEST_P(AdapterStoreContract, WrongBytesAreRefused) {
  const std::string bytes = RandomBytes(1000, 5);
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  std::string flipped = bytes;
  flipped[500] ^= 1;
  EXPECT_THAT(
      Store(*store_, SpecFor("sql", bytes), flipped),
      StatusIs(kInvalid, AllOf(HasSubstr(Sha256::Of(bytes).ToHex()),
                               HasSubstr(Sha256::Of(flipped).ToHex()))));
  EXPECT_THAT(Store(*store_, SpecFor("sql", bytes), bytes.substr(1)),
              StatusIs(kInvalid, AllOf(HasSubstr("1000"), HasSubstr("999"))));
  EXPECT_THAT(Store(*store_, SpecFor("sql", bytes), bytes + "x"),
              StatusIs(kInvalid, HasSubstr("1000 declared")));
  EXPECT_THAT(Store(*store_, SpecFor("sql", bytes), ""),
              StatusIs(kInvalid, HasSubstr("0 came")));
  EXPECT_THAT(ListAll({}), IsEmpty());
  EXPECT_EQ(store_->Stats().bytes, 0u);
}

TEST_P(AdapterStoreContract, SpecsAreBounded) {
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  const UploadSpec good = SpecFor("sql", "bytes");
  const auto begin = [this](UploadSpec spec) {
    return store_->BeginUpload(std::move(spec)).status();
  };
  EXPECT_THAT(begin(good), IsOk());
  UploadSpec spec = good;
  spec.name = "../sql";
  EXPECT_THAT(begin(spec), StatusIs(kInvalid, HasSubstr("name")));
  spec = good;
  spec.version = 0;
  EXPECT_THAT(begin(spec), StatusIs(kInvalid, HasSubstr("version")));
  spec.version = kMaxVersion + 1;
  EXPECT_THAT(begin(spec), StatusIs(kInvalid, HasSubstr("version")));
  spec = good;
  spec.labels = {{"Bad", ""}};
  EXPECT_THAT(begin(spec), StatusIs(kInvalid, HasSubstr("label")));
  spec = good;
  spec.description = std::string(kMaxDescriptionBytes + 1, 'a');
  EXPECT_THAT(begin(spec), StatusIs(kInvalid, HasSubstr("description")));
  spec = good;
  spec.card = "\xff";
  EXPECT_THAT(begin(spec), StatusIs(kInvalid, HasSubstr("card")));
  spec = good;
  spec.adapter_config = "";
  EXPECT_THAT(begin(spec), StatusIs(kInvalid, HasSubstr("adapter_config")));
  spec = good;
  spec.size_bytes = 0;
  EXPECT_THAT(begin(spec), StatusIs(kInvalid, HasSubstr("size_bytes")));
  spec.size_bytes = ~uint64_t{0};
  EXPECT_THAT(begin(spec), StatusIs(kInvalid, HasSubstr("size_bytes")));
}

TEST_P(AdapterStoreContract, VersionsGrowByOneAndNewestIsTheDefault) {
  EXPECT_EQ(Store(*store_, "sql", "one")->record.version, 1);
  EXPECT_EQ(Store(*store_, "sql", "two")->record.version, 2);
  UploadSpec spec = SpecFor("sql", "seven");
  spec.version = 7;
  EXPECT_EQ(Store(*store_, spec, "seven")->record.version, 7);
  EXPECT_EQ(Store(*store_, "sql", "eight")->record.version, 8);
  EXPECT_EQ(store_->Resolve(Ref("sql"))->version, 8);
  EXPECT_EQ(store_->Resolve(Ref("sql@2"))->version, 2);
  const Digest digest = store_->Get(Ref("sql@7"))->digest;
  EXPECT_EQ(store_->Resolve(Ref(digest.ToString()))->version, 7);
}

TEST_P(AdapterStoreContract, LastVersionHasNoSuccessor) {
  UploadSpec spec = SpecFor("sql", "last");
  spec.version = kMaxVersion;
  ASSERT_THAT(Store(*store_, spec, "last"), IsOk());
  EXPECT_THAT(Store(*store_, "sql", "next"),
              StatusIs(absl::StatusCode::kFailedPrecondition, _));
  EXPECT_TRUE(Store(*store_, "sql", "last")->already_stored);
}

TEST_P(AdapterStoreContract, SameContentAgainIsStoredAlready) {
  UploadSpec spec = SpecFor("sql", "one");
  ASSERT_THAT(Store(*store_, spec, "one"), IsOk());
  spec.version = 1;
  absl::StatusOr<CommitResult> again = Store(*store_, spec, "one");
  ASSERT_THAT(again, IsOk());
  EXPECT_TRUE(again->already_stored);
  EXPECT_EQ(again->record.version, 1);
  spec.version.reset();
  again = Store(*store_, spec, "one");
  ASSERT_THAT(again, IsOk());
  EXPECT_TRUE(again->already_stored);
  EXPECT_EQ(again->record.version, 1);
  EXPECT_EQ(store_->Stats().num_adapters, 1u);
  EXPECT_EQ(store_->Stats().bytes, 3u);
}

TEST_P(AdapterStoreContract, SameBytesUnderAnotherNameAreStoredOnce) {
  const std::string bytes = RandomBytes(3'000'000, 6);
  ASSERT_THAT(Store(*store_, "a", bytes), IsOk());
  const absl::StatusOr<CommitResult> second = Store(*store_, "b", bytes);
  ASSERT_THAT(second, IsOk());
  EXPECT_TRUE(second->already_stored);
  EXPECT_EQ(store_->Get(Ref("a"))->digest, store_->Get(Ref("b"))->digest);
  EXPECT_EQ(store_->Stats().bytes, bytes.size());
  EXPECT_EQ(store_->Stats().num_names, 2u);
  ASSERT_THAT(store_->Delete(Ref("a")), IsOk());
  EXPECT_THAT(ReadBlob(*store_, second->record.digest), IsOkAndHolds(bytes));
}

TEST_P(AdapterStoreContract, CanonicalConfigDecidesTheDigest) {
  UploadSpec spec = SpecFor("a", "bytes");
  spec.adapter_config = "{ \"r\": 4 }";
  spec.canonical_config = "{\"r\":4}";
  const Digest first = Store(*store_, spec, "bytes")->record.digest;
  spec.name = "b";
  spec.adapter_config = "{\"r\":  4}";
  EXPECT_TRUE(Store(*store_, spec, "bytes")->already_stored);
  spec.name = "c";
  spec.canonical_config = "{\"r\":8}";
  EXPECT_NE(Store(*store_, spec, "bytes")->record.digest, first);
}

TEST_P(AdapterStoreContract, AVersionNeverChanges) {
  UploadSpec spec = SpecFor("sql", "one");
  spec.version = 3;
  ASSERT_THAT(Store(*store_, spec, "one"), IsOk());
  UploadSpec other = SpecFor("sql", "two");
  other.version = 3;
  EXPECT_THAT(
      store_->BeginUpload(other).status(),
      StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("\"sql@3\"")));
  spec.adapter_config = "{\"r\":9}";
  EXPECT_THAT(Store(*store_, spec, "one"),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("sql@3")));
  EXPECT_THAT(ReadBlob(*store_, store_->Get(Ref("sql@3"))->digest),
              IsOkAndHolds("one"));
}

TEST_P(AdapterStoreContract, OneOfEightRacingCommitsWins) {
  for (int round = 0; round < 5; ++round) {
    const std::string name = absl::StrCat("race", round);
    std::vector<std::unique_ptr<Upload>> uploads;
    for (int i = 0; i < 8; ++i) {
      const std::string bytes = RandomBytes(5000, 100 + i);
      UploadSpec spec = SpecFor(name, bytes);
      spec.version = 1;
      uploads.push_back(store_->BeginUpload(spec).value());
      ASSERT_THAT(uploads.back()->Append(bytes), IsOk());
    }
    std::atomic<int> winners = 0;
    std::atomic<int> losers = 0;
    std::vector<std::thread> threads;
    for (std::unique_ptr<Upload>& upload : uploads) {
      threads.emplace_back([&] {
        const absl::Status status = upload->Commit(SomeFacts()).status();
        winners += status.ok() ? 1 : 0;
        losers += absl::IsAlreadyExists(status) ? 1 : 0;
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    EXPECT_EQ(winners, 1);
    EXPECT_EQ(losers, 7);
    EXPECT_THAT(ReadBlob(*store_, store_->Get(Ref(name))->digest), IsOk());
  }
}

TEST_P(AdapterStoreContract, RacingCommitsWithoutAVersionGetOneEach) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([this, i] {
      EXPECT_THAT(Store(*store_, "sql", RandomBytes(3000, i)), IsOk());
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  ListOptions options;
  options.all_versions = true;
  EXPECT_THAT(ListAll(options),
              ElementsAre("sql@1", "sql@2", "sql@3", "sql@4", "sql@5", "sql@6",
                          "sql@7", "sql@8"));
}

TEST_P(AdapterStoreContract, QuotaCountsUploadsUnderWay) {
  store_.reset();
  store_ = GetParam()(dir_.path() + "/small", 1000);
  constexpr auto kExhausted = absl::StatusCode::kResourceExhausted;
  std::unique_ptr<Upload> upload =
      store_->BeginUpload(SpecFor("a", std::string(600, 'a'))).value();
  EXPECT_THAT(store_->BeginUpload(SpecFor("b", std::string(600, 'b'))).status(),
              StatusIs(kExhausted, HasSubstr("delete adapters")));
  upload.reset();
  EXPECT_THAT(Store(*store_, "b", std::string(600, 'b')), IsOk());
  EXPECT_THAT(store_->BeginUpload(SpecFor("c", std::string(401, 'c'))).status(),
              StatusIs(kExhausted, _));
  EXPECT_THAT(store_->BeginUpload(SpecFor("c", std::string(400, 'c'))).status(),
              IsOk());
}

TEST_P(AdapterStoreContract, UploadsAtOnceAreBounded) {
  std::vector<std::unique_ptr<Upload>> uploads;
  absl::Status status;
  while (status.ok() && uploads.size() < 1000) {
    absl::StatusOr<std::unique_ptr<Upload>> upload =
        store_->BeginUpload(SpecFor("a", "x"));
    status = upload.status();
    if (upload.ok()) {
      uploads.push_back(*std::move(upload));
    }
  }
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted,
                               HasSubstr("under way")));
  uploads.pop_back();
  EXPECT_THAT(store_->BeginUpload(SpecFor("a", "x")).status(), IsOk());
}

TEST_P(AdapterStoreContract, FactsAreBounded) {
  std::unique_ptr<Upload> upload =
      store_->BeginUpload(SpecFor("a", "x")).value();
  ASSERT_THAT(upload->Append("x"), IsOk());
  AdapterFacts facts = SomeFacts();
  facts.target_modules.assign(5000, "m");
  EXPECT_THAT(upload->Commit(facts),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("target_modules")));
  EXPECT_THAT(upload->Commit(SomeFacts()), IsOk());
}

}  // namespace
}  // namespace stockpot::testing
