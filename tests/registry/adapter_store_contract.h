// What every AdapterStore promises, as tests over one that the parameter makes:
// adapter_store_upload_contract.cc and adapter_store_index_contract.cc hold
// them. A test links both and instantiates AdapterStoreContract with its
// stores.

#ifndef STOCKPOT_TESTS_REGISTRY_ADAPTER_STORE_CONTRACT_H_
#define STOCKPOT_TESTS_REGISTRY_ADAPTER_STORE_CONTRACT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "registry/adapter_store.h"
#include "tests/registry/store_fixture.h"
#include "tests/testing/status_matchers.h"

namespace stockpot::testing {

// Makes a store in an empty folder, with the quota given (0: none).
using StoreMaker = std::function<std::unique_ptr<AdapterStore>(
    const std::string& path, uint64_t max_bytes)>;

class AdapterStoreContract : public ::testing::TestWithParam<StoreMaker> {
 protected:
  AdapterStoreContract() : store_(GetParam()(dir_.path() + "/db", 0)) {}

  // The refs "name@version" of a whole listing.
  std::vector<std::string> ListAll(ListOptions options) {
    std::vector<std::string> names;
    do {
      absl::StatusOr<AdapterPage> page = store_->List(options);
      EXPECT_THAT(page, IsOk());
      if (!page.ok()) {
        break;
      }
      for (const AdapterRecord& record : page->records) {
        names.push_back(absl::StrCat(record.name, "@", record.version));
      }
      options.page_token = page->next_page_token;
    } while (!options.page_token.empty());
    return names;
  }

  TempDir dir_;
  std::unique_ptr<AdapterStore> store_;
};

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_REGISTRY_ADAPTER_STORE_CONTRACT_H_
