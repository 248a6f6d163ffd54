// AdapterStore contract: names, versions, aliases, listings, deletes.

#include <atomic>
#include <cstddef>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
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

TEST_P(AdapterStoreContract, NotFoundNamesWhatThereIs) {
  constexpr auto kNotFound = absl::StatusCode::kNotFound;
  ASSERT_THAT(Store(*store_, "sql", "one"), IsOk());
  ASSERT_THAT(Store(*store_, "sql", "two"), IsOk());
  ASSERT_THAT(store_->SetAlias("sql", "prod", 2), IsOk());
  EXPECT_THAT(store_->Get(Ref("sql@9")),
              StatusIs(kNotFound,
                       AllOf(HasSubstr("\"sql@9\""), HasSubstr("versions 1, 2"),
                             HasSubstr("prod (version 2)"))));
  EXPECT_THAT(store_->Resolve(Ref("sql@beta")),
              StatusIs(kNotFound, HasSubstr("prod")));
  EXPECT_THAT(store_->Resolve(Ref("sq")),
              StatusIs(kNotFound, HasSubstr("no adapter is named \"sq\"")));
  EXPECT_THAT(store_->Get(Ref(Sha256::Of("x").ToString())),
              StatusIs(kNotFound, HasSubstr("sha256:")));
  EXPECT_THAT(store_->OpenBlob(Sha256::Of("x")).status(),
              StatusIs(kNotFound, _));
}

TEST_P(AdapterStoreContract, AliasesMoveAndGoWithTheirVersion) {
  constexpr auto kNotFound = absl::StatusCode::kNotFound;
  ASSERT_THAT(Store(*store_, "sql", "one"), IsOk());
  ASSERT_THAT(Store(*store_, "sql", "two"), IsOk());
  ASSERT_THAT(store_->SetAlias("sql", "prod", 1), IsOk());
  const absl::StatusOr<ResolvedAdapter> before =
      store_->Resolve(Ref("sql@prod"));
  EXPECT_EQ(before->version, 1);
  EXPECT_THAT(store_->SetAlias("sql", "prod", 2)->aliases, ElementsAre("prod"));
  EXPECT_EQ(store_->Resolve(Ref("sql@prod"))->version, 2);
  EXPECT_EQ(before->version, 1);
  EXPECT_THAT(store_->Get(Ref("sql@1"))->aliases, IsEmpty());
  EXPECT_THAT(store_->SetAlias("sql", "prod", 3), StatusIs(kNotFound, _));
  EXPECT_THAT(store_->SetAlias("sql", "7", 1),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
  ASSERT_THAT(store_->SetAlias("sql", "old", 1), IsOk());
  ASSERT_THAT(store_->Delete(Ref("sql@2")), IsOk());
  EXPECT_THAT(store_->Resolve(Ref("sql@prod")), StatusIs(kNotFound, _));
  EXPECT_EQ(store_->Resolve(Ref("sql@old"))->version, 1);
  ASSERT_THAT(store_->DeleteAlias("sql", "old"), IsOk());
  EXPECT_THAT(store_->DeleteAlias("sql", "old"), StatusIs(kNotFound, _));
}

TEST_P(AdapterStoreContract, AliasesOfANameAreBounded) {
  ASSERT_THAT(Store(*store_, "sql", "one"), IsOk());
  for (size_t i = 0; i < kMaxAliasesPerName; ++i) {
    ASSERT_THAT(store_->SetAlias("sql", absl::StrCat("a", i), 1), IsOk());
  }
  EXPECT_THAT(store_->SetAlias("sql", "more", 1),
              StatusIs(absl::StatusCode::kFailedPrecondition, _));
  EXPECT_THAT(store_->SetAlias("sql", "a0", 1), IsOk());
}

TEST_P(AdapterStoreContract, ABareNameDeletesOnlyASingleVersion) {
  ASSERT_THAT(Store(*store_, "sql", "one"), IsOk());
  ASSERT_THAT(Store(*store_, "sql", "two"), IsOk());
  EXPECT_THAT(
      store_->Delete(Ref("sql")),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("\"sql@1\"")));
  ASSERT_THAT(store_->Delete(Ref("sql@1")), IsOk());
  EXPECT_THAT(store_->Delete(Ref("sql")), IsOk());
  EXPECT_THAT(store_->Delete(Ref("sql")),
              StatusIs(absl::StatusCode::kNotFound, _));
  EXPECT_THAT(ListAll({}), IsEmpty());
  EXPECT_EQ(store_->Stats().num_names, 0u);
}

TEST_P(AdapterStoreContract, ADigestWithTwoNamesIsNotDeletedByDigest) {
  const Digest digest = Store(*store_, "a", "one")->record.digest;
  ASSERT_THAT(Store(*store_, "b", "one"), IsOk());
  EXPECT_THAT(store_->Delete(Ref(digest.ToString())),
              StatusIs(absl::StatusCode::kFailedPrecondition, _));
  ASSERT_THAT(store_->Delete(Ref("a")), IsOk());
  EXPECT_THAT(store_->Delete(Ref(digest.ToString())), IsOk());
  EXPECT_THAT(store_->Get(Ref("b")), StatusIs(absl::StatusCode::kNotFound, _));
}

TEST_P(AdapterStoreContract, AnOpenReaderOutlivesADelete) {
  const std::string bytes = RandomBytes(3'000'000, 7);
  const Digest digest = Store(*store_, "sql", bytes)->record.digest;
  std::unique_ptr<BlobReader> reader = store_->OpenBlob(digest).value();
  std::string chunk;
  ASSERT_THAT(reader->Next(&chunk), IsOkAndHolds(true));
  ASSERT_THAT(store_->Delete(Ref("sql")), IsOk());
  EXPECT_THAT(store_->Get(Ref("sql")),
              StatusIs(absl::StatusCode::kNotFound, _));
  EXPECT_THAT(ReadAll(*reader), IsOkAndHolds(bytes.substr(chunk.size())));
}

TEST_P(AdapterStoreContract, AResolvedAdapterOutlivesADelete) {
  ASSERT_THAT(Store(*store_, "sql", "one"), IsOk());
  absl::StatusOr<ResolvedAdapter> resolved = store_->Resolve(Ref("sql"));
  ASSERT_THAT(resolved, IsOk());
  ASSERT_THAT(store_->Delete(Ref("sql")), IsOk());
  EXPECT_THAT(ReadBlob(*store_, resolved->digest), IsOkAndHolds("one"));
}

TEST_P(AdapterStoreContract, UpdateChangesOnlyWhatItNames) {
  UploadSpec spec = SpecFor("sql", "one");
  spec.labels = {{"a", "1"}};
  spec.description = "old";
  spec.card = "card";
  const Digest digest = Store(*store_, spec, "one")->record.digest;
  AdapterUpdate update;
  update.description = "new";
  absl::StatusOr<AdapterRecord> record = store_->Update(Ref("sql"), update);
  ASSERT_THAT(record, IsOk());
  EXPECT_EQ(record->description, "new");
  EXPECT_EQ(record->labels, spec.labels);
  EXPECT_EQ(record->card, "card");
  update = {};
  update.labels = Labels{{"b", "2"}};
  update.card = "";
  record = store_->Update(Ref("sql@1"), update);
  ASSERT_THAT(record, IsOk());
  EXPECT_EQ(record->labels, *update.labels);
  EXPECT_EQ(record->card, "");
  EXPECT_EQ(record->digest, digest);
  update.labels = Labels{{"B", ""}};
  EXPECT_THAT(store_->Update(Ref("sql"), update),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
}

TEST_P(AdapterStoreContract, ListingFiltersByPrefixLabelAndVersion) {
  for (const char* name : {"sql", "sql-a", "sql0", "math"}) {
    UploadSpec spec = SpecFor(name, absl::StrCat(name, "1"));
    spec.labels = {{"n", name}};
    ASSERT_THAT(Store(*store_, spec, absl::StrCat(name, "1")), IsOk());
  }
  ASSERT_THAT(Store(*store_, "sql", "sql2"), IsOk());
  ListOptions options;
  EXPECT_THAT(ListAll(options),
              ElementsAre("math@1", "sql@2", "sql-a@1", "sql0@1"));
  options.name_prefix = "sql";
  EXPECT_THAT(ListAll(options), ElementsAre("sql@2", "sql-a@1", "sql0@1"));
  options.name_prefix = "sql-";
  EXPECT_THAT(ListAll(options), ElementsAre("sql-a@1"));
  options.name_prefix = "";
  options.all_versions = true;
  options.labels = {{"n", "sql"}};
  EXPECT_THAT(ListAll(options), ElementsAre("sql@1"));
  options.labels = {{"n", "other"}};
  EXPECT_THAT(ListAll(options), IsEmpty());
}

TEST_P(AdapterStoreContract, BadListOptionsAreRefused) {
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  ListOptions options;
  options.page_size = kMaxPageSize + 1;
  EXPECT_THAT(store_->List(options),
              StatusIs(kInvalid, HasSubstr("page_size")));
  options = {};
  options.page_token = "nonsense";
  EXPECT_THAT(store_->List(options),
              StatusIs(kInvalid, HasSubstr("page_token")));
  options = {};
  options.name_prefix = "A/";
  EXPECT_THAT(store_->List(options),
              StatusIs(kInvalid, HasSubstr("name_prefix")));
}

TEST_P(AdapterStoreContract, PagesAreStableUnderInsertsAndDeletes) {
  for (int i = 10; i < 40; ++i) {
    ASSERT_THAT(Store(*store_, absl::StrCat("m", i), absl::StrCat(i)), IsOk());
  }
  for (const bool all_versions : {false, true}) {
    ListOptions options;
    options.page_size = 7;
    options.all_versions = all_versions;
    std::multiset<std::string> seen;
    int page_number = 0;
    do {
      const absl::StatusOr<AdapterPage> page = store_->List(options);
      ASSERT_THAT(page, IsOk());
      EXPECT_LE(page->records.size(), 7u);
      for (const AdapterRecord& record : page->records) {
        seen.insert(all_versions
                        ? absl::StrCat(record.name, "@", record.version)
                        : record.name);
      }
      options.page_token = page->next_page_token;
      // Behind, ahead, and the very adapter that the token names.
      const std::string tag = absl::StrCat(page_number++, "x", all_versions);
      ASSERT_THAT(Store(*store_, absl::StrCat("a", tag), tag), IsOk());
      ASSERT_THAT(Store(*store_, absl::StrCat("z", tag), tag), IsOk());
      const std::string last = page->records.back().name;
      if (last[0] == 'm') {
        // The same again: a version takes back only what it had.
        const int64_t version = page->records.back().version;
        UploadSpec spec = SpecFor(last, last.substr(1));
        spec.version = version;
        ASSERT_THAT(store_->Delete(Ref(last)), IsOk());
        ASSERT_THAT(Store(*store_, spec, last.substr(1)), IsOk());
      }
    } while (!options.page_token.empty() && page_number < 50);
    for (int i = 10; i < 40; ++i) {
      const std::string suffix = all_versions ? "@1" : "";
      EXPECT_EQ(seen.count(absl::StrCat("m", i, suffix)), 1u) << i;
    }
  }
}

TEST_P(AdapterStoreContract, ReadsAndWritesFromManyThreadsStayWhole) {
  std::vector<std::thread> threads;
  std::atomic<bool> stop = false;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([this, i] {
      for (int round = 0; round < 15; ++round) {
        const std::string name = absl::StrCat("w", i);
        const std::string bytes = RandomBytes(200'000, 1000 * i + round % 3);
        UploadSpec spec = SpecFor(name, bytes);
        spec.version = round + 1;
        ASSERT_THAT(Store(*store_, spec, bytes), IsOk());
        EXPECT_THAT(store_->SetAlias(name, "prod", round + 1), IsOk());
        EXPECT_THAT(store_->Delete(Ref(name)), IsOk());
      }
    });
  }
  std::thread reader([this, &stop] {
    while (!stop) {
      for (int i = 0; i < 3; ++i) {
        const absl::StatusOr<ResolvedAdapter> resolved =
            store_->Resolve(Ref(absl::StrCat("w", i, "@prod")));
        if (resolved.ok()) {
          EXPECT_THAT(ReadBlob(*store_, resolved->digest), IsOk());
        } else {
          EXPECT_THAT(resolved, StatusIs(absl::StatusCode::kNotFound, _));
        }
        EXPECT_THAT(store_->List({}), IsOk());
      }
    }
  });
  for (std::thread& thread : threads) {
    thread.join();
  }
  stop = true;
  reader.join();
  EXPECT_EQ(store_->Stats().num_adapters, 0u);
}

}  // namespace
}  // namespace stockpot::testing
