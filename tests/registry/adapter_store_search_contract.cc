// AdapterStore contract: listings that filter by what adapters are.

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/sha256.h"
#include "registry/adapter_store.h"
#include "tests/registry/adapter_store_contract.h"
#include "tests/registry/store_fixture.h"
#include "tests/testing/status_matchers.h"

namespace stockpot::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

// Stores an adapter of 100 * rank bytes.
void StoreWith(AdapterStore& store, const std::string& name, uint32_t rank,
               const std::string& module, const std::string& card) {
  const std::string bytes(100 * rank, 'x');
  UploadSpec spec = SpecFor(name, bytes);
  spec.description = absl::StrCat("About ", name);
  spec.card = card;
  AdapterFacts facts = SomeFacts();
  facts.max_rank = rank;
  facts.target_modules = {"layers.0.mlp.up_proj", module};
  facts.base_model = absl::StrCat("base-", name);
  facts.base_model_digest = Sha256::Of(name);
  std::unique_ptr<Upload> upload = store.BeginUpload(spec).value();
  ASSERT_THAT(upload->Append(bytes), IsOk());
  ASSERT_THAT(upload->Commit(facts), IsOk());
}

TEST_P(AdapterStoreContract, ListingFiltersByWhatAdaptersAre) {
  const absl::Time before = absl::Now();
  StoreWith(*store_, "a", 4, "q_proj", "Writes SQL.");
  StoreWith(*store_, "b", 8, "layers.0.q_proj", "");
  StoreWith(*store_, "c", 16, "xq_proj", "writes prose");
  const auto list = [&](AdapterFilter filter) {
    ListOptions options;
    options.filter = std::move(filter);
    options.page_size = 1;
    return ListAll(options);
  };
  EXPECT_THAT(list({}), ElementsAre("a@1", "b@1", "c@1"));
  EXPECT_THAT(list({.min_rank = 8}), ElementsAre("b@1", "c@1"));
  EXPECT_THAT(list({.min_rank = 5, .max_rank = 8}), ElementsAre("b@1"));
  EXPECT_THAT(list({.min_bytes = 800, .max_bytes = 800}), ElementsAre("b@1"));
  EXPECT_THAT(list({.target_modules = {"q_proj"}}), ElementsAre("a@1", "b@1"));
  EXPECT_THAT(list({.target_modules = {"up_proj", "xq_proj"}}),
              ElementsAre("c@1"));
  EXPECT_THAT(list({.base_model = "base-b"}), ElementsAre("b@1"));
  EXPECT_THAT(list({.base_model = Sha256::Of("c").ToString()}),
              ElementsAre("c@1"));
  EXPECT_THAT(list({.text = "wRITES"}), ElementsAre("a@1", "c@1"));
  EXPECT_THAT(list({.text = "sql"}), ElementsAre("a@1"));
  EXPECT_THAT(list({.text = "about b"}), ElementsAre("b@1"));
  EXPECT_THAT(list({.max_rank = 8, .text = "prose"}), IsEmpty());
  EXPECT_THAT(list({.created_from = absl::Now() + absl::Hours(1)}), IsEmpty());
  EXPECT_THAT(list({.created_before = before - absl::Hours(1)}), IsEmpty());
}

TEST_P(AdapterStoreContract, CardsThatAreSearchedAreBoundedPerPage) {
  // 40 cards of 256 KiB; a page reads 8 MiB of them.
  UploadSpec spec = SpecFor("x", "bytes");
  spec.card = std::string(kMaxCardBytes, 'c');
  for (int i = 10; i < 50; ++i) {
    spec.name = absl::StrCat("x", i);
    ASSERT_THAT(Store(*store_, spec, "bytes"), IsOk());
  }
  ListOptions options;
  options.filter.text = "needle";
  const absl::StatusOr<AdapterPage> page = store_->List(options);
  ASSERT_THAT(page, IsOk());
  EXPECT_THAT(page->records, IsEmpty());
  EXPECT_NE(page->next_page_token, "");
  EXPECT_THAT(ListAll(options), IsEmpty());
}

TEST_P(AdapterStoreContract, BadFiltersAreRefused) {
  ListOptions options;
  options.filter = {.min_rank = 9, .max_rank = 8};
  EXPECT_THAT(store_->List(options),
              StatusIs(kInvalid, HasSubstr("filter.max_rank")));
  options.filter = {.min_bytes = 9, .max_bytes = 8};
  EXPECT_THAT(store_->List(options),
              StatusIs(kInvalid, HasSubstr("filter.max_size_bytes")));
  options.filter = {.text = std::string(257, 't')};
  EXPECT_THAT(store_->List(options),
              StatusIs(kInvalid, HasSubstr("filter.text")));
  options.filter = {};
  options.filter.target_modules.assign(65, "q_proj");
  EXPECT_THAT(store_->List(options),
              StatusIs(kInvalid, HasSubstr("filter.target_modules")));
}

}  // namespace
}  // namespace stockpot::testing
