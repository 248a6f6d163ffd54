// Namespaces: their names, their quotas, and the store's use of both.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/retry_after.h"
#include "registry/adapter_ref.h"
#include "registry/adapter_store.h"
#include "registry/namespace_ledger.h"
#include "registry/namespace_quota.h"
#include "tests/registry/rocks_store_fixture.h"
#include "tests/registry/store_fixture.h"
#include "tests/testing/status_matchers.h"

namespace stockpot::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kExhausted = absl::StatusCode::kResourceExhausted;
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

TEST(NamespaceTest, ANameHasAtMostOneNamespace) {
  for (const char* name : {"a/b", "team-a/x.y_z-1", "0/0"}) {
    EXPECT_THAT(ValidateName(name), IsOk()) << name;
  }
  EXPECT_THAT(ValidateName(absl::StrCat(std::string(63, 'a'), "/",
                                        std::string(64, 'b'))),
              IsOk());
  for (const std::string& name :
       {std::string("a/"), std::string("/a"), std::string("a//b"),
        std::string("a/b/c"), std::string("a.b/c"), std::string("-a/b"),
        std::string("a/../b"), std::string("../b"), std::string("default/a"),
        absl::StrCat(std::string(64, 'a'), "/b"),
        absl::StrCat("a/", std::string(127, 'b'))}) {
    EXPECT_THAT(ValidateName(name), StatusIs(kInvalid, HasSubstr("namespace")))
        << name;
  }
  EXPECT_EQ(NamespaceOf("team-a/x"), "team-a");
  EXPECT_EQ(NamespaceOf("x"), "");
  const absl::StatusOr<AdapterRef> ref = AdapterRef::Parse("team-a/x@prod");
  ASSERT_THAT(ref, IsOk());
  EXPECT_EQ(ref->name, "team-a/x");
  EXPECT_EQ(ref->ToString(), "team-a/x@prod");
}

TEST(NamespaceQuotasTest, TextIsParsed) {
  const absl::StatusOr<NamespaceQuotas> quotas = NamespaceQuotas::Parse(
      "a:bytes=10,adapters=2; default:adapters=3;*:uploads_per_minute=6;");
  ASSERT_THAT(quotas, IsOk());
  EXPECT_EQ(quotas->Of("a"), (NamespaceQuota{10, 2, 0}));
  EXPECT_EQ(quotas->Of(""), (NamespaceQuota{0, 3, 0}));
  EXPECT_EQ(quotas->Of("b"), (NamespaceQuota{0, 0, 6}));
  EXPECT_EQ(NamespaceQuotas::Parse("")->Of("b"), NamespaceQuota());
}

TEST(NamespaceQuotasTest, BadTextIsNamed) {
  for (const char* text : {"a", "a:", "a:bytes", "a:bytes=x", "a:bytes=-1",
                           "a:rows=1", "A:bytes=1", "a/b:bytes=1"}) {
    EXPECT_THAT(NamespaceQuotas::Parse(text),
                StatusIs(kInvalid, HasSubstr(absl::StrCat("\"", text, "\""))))
        << text;
  }
}

TEST(NamespaceLedgerTest, TheRateFlowsBackAndSaysWhen) {
  NamespaceLedger ledger(
      NamespaceQuotas::Parse("*:uploads_per_minute=2").value());
  absl::Time now = absl::FromUnixSeconds(1'700'000'000);
  const auto upload = [&](const char* name_space) {
    const absl::Status status = ledger.Admit(name_space, 1, now);
    if (status.ok()) {
      ledger.Finish(name_space, 1);
    }
    return status;
  };
  EXPECT_THAT(upload("a"), IsOk());
  EXPECT_THAT(upload("a"), IsOk());
  const absl::Status refused = upload("a");
  EXPECT_THAT(
      refused,
      StatusIs(kExhausted, AllOf(HasSubstr("\"uploads_per_minute\""),
                                 HasSubstr("\"a\" is 2"), HasSubstr("30s"))));
  ASSERT_TRUE(RetryAfter(refused).has_value());
  EXPECT_EQ(*RetryAfter(refused), absl::Seconds(30));
  EXPECT_THAT(upload("b"), IsOk());
  now += absl::Seconds(29);
  EXPECT_FALSE(upload("a").ok());
  now += absl::Seconds(1);
  EXPECT_THAT(upload("a"), IsOk());
  EXPECT_FALSE(upload("a").ok());
  // A clock that goes back gives nothing back.
  now -= absl::Hours(1);
  EXPECT_FALSE(upload("a").ok());
}

TEST(NamespaceLedgerTest, UploadsUnderWayCount) {
  NamespaceLedger ledger(NamespaceQuotas::Parse("*:bytes=10").value());
  const absl::Time now = absl::FromUnixSeconds(1'700'000'000);
  ASSERT_THAT(ledger.Admit("", 6, now), IsOk());
  EXPECT_THAT(ledger.Admit("", 5, now),
              StatusIs(kExhausted,
                       AllOf(HasSubstr("quota \"bytes\" of namespace "
                                       "\"default\" is 10"),
                             HasSubstr("6 are used"), HasSubstr("takes 5"))));
  EXPECT_THAT(ledger.Admit("", 4, now), IsOk());
  ledger.Finish("", 6);
  EXPECT_THAT(ledger.Admit("", 6, now), IsOk());
}

TEST(NamespaceLedgerTest, MadeUpNamespacesAreForgotten) {
  NamespaceLedger ledger(NamespaceQuotas{});
  const absl::Time now = absl::FromUnixSeconds(1'700'000'000);
  ledger.Add("kept", {1, 5});
  for (int i = 0; i < 5000; ++i) {
    const std::string name_space = absl::StrCat("n", i);
    ASSERT_THAT(ledger.Admit(name_space, 1, now), IsOk());
    ledger.Finish(name_space, 1);
  }
  EXPECT_EQ(ledger.Usage("kept").bytes, 5);
  EXPECT_LE(ledger.size(), 1026u);
}

class NamespaceStoreTest : public RocksStoreTest {
 protected:
  void OpenWith(const std::string& quotas) {
    RocksStoreOptions options = Options();
    options.undelete_window = absl::Hours(1);
    options.quotas = NamespaceQuotas::Parse(quotas).value();
    ASSERT_THAT(Open(std::move(options)), IsOk());
  }
};

TEST_F(NamespaceStoreTest, EqualNamesOfTwoNamespacesAreTwoAdapters) {
  OpenWith("");
  ASSERT_THAT(Store(*store_, "a/x", "one"), IsOk());
  ASSERT_THAT(Store(*store_, "b/x", "two"), IsOk());
  ASSERT_THAT(Store(*store_, "x", "three"), IsOk());
  EXPECT_THAT(ReadBlob(*store_, store_->Get(Ref("a/x@1"))->digest),
              IsOkAndHolds("one"));
  EXPECT_THAT(ReadBlob(*store_, store_->Get(Ref("x"))->digest),
              IsOkAndHolds("three"));
  ListOptions options;
  options.name_prefix = "a/";
  const absl::StatusOr<AdapterPage> page = store_->List(options);
  ASSERT_THAT(page, IsOk());
  ASSERT_EQ(page->records.size(), 1u);
  EXPECT_EQ(page->records[0].name, "a/x");
}

TEST_F(NamespaceStoreTest, AdaptersCountUntilTheyArePurged) {
  OpenWith("a:adapters=2");
  ASSERT_THAT(Store(*store_, "a/x", "one"), IsOk());
  ASSERT_THAT(Store(*store_, "a/x", "two"), IsOk());
  const auto is_full =
      StatusIs(kExhausted, AllOf(HasSubstr("\"adapters\""), HasSubstr("is 2"),
                                 HasSubstr("2 are used")));
  EXPECT_THAT(Store(*store_, "a/y", "three"), is_full);
  EXPECT_THAT(Store(*store_, "b/y", "three"), IsOk());
  EXPECT_THAT(Store(*store_, "y", "three"), IsOk());
  ASSERT_THAT(store_->Delete(Ref("a/x@1")), IsOk());
  EXPECT_THAT(Store(*store_, "a/y", "three"), is_full);
  OpenWith("a:adapters=2");
  EXPECT_THAT(Store(*store_, "a/y", "three"), is_full);
  ASSERT_THAT(store_->Purge(Ref("a/x@1")), IsOk());
  EXPECT_THAT(Store(*store_, "a/y", "three"), IsOk());
  EXPECT_THAT(Store(*store_, "a/z", "three"), is_full);
}

TEST_F(NamespaceStoreTest, BytesCountInFullAlsoWhenTheyAreShared) {
  OpenWith("a:bytes=2500");
  const std::string bytes = RandomBytes(1000, 1);
  ASSERT_THAT(Store(*store_, "x", bytes), IsOk());
  ASSERT_THAT(Store(*store_, "a/x", bytes), IsOk());
  ASSERT_THAT(Store(*store_, "a/y", bytes), IsOk());
  EXPECT_THAT(Store(*store_, "a/z", bytes),
              StatusIs(kExhausted, HasSubstr("2000 are used")));
  // A refused or broken upload gives back what it held.
  UploadSpec broken = SpecFor("a/z", "short");
  {
    std::unique_ptr<Upload> upload = store_->BeginUpload(broken).value();
    EXPECT_FALSE(upload->Commit(SomeFacts()).ok());
  }
  EXPECT_THAT(Store(*store_, "a/z", RandomBytes(500, 2)), IsOk());
}

}  // namespace
}  // namespace stockpot::testing
