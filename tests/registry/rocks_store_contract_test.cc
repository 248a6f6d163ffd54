#include <cstdint>
#include <memory>
#include <string>

#include "gtest/gtest.h"

#include "registry/adapter_store.h"
#include "registry/rocks_store.h"
#include "tests/registry/adapter_store_contract.h"

namespace stockpot::testing {
namespace {

std::unique_ptr<AdapterStore> MakeRocksStore(const std::string& path,
                                             uint64_t max_bytes) {
  RocksStoreOptions options;
  options.path = path;
  options.max_bytes = max_bytes;
  options.reserve_bytes = 1 << 20;
  return RocksStore::Open(options).value();
}

INSTANTIATE_TEST_SUITE_P(RocksStore, AdapterStoreContract,
                         ::testing::Values(StoreMaker(MakeRocksStore)),
                         [](const auto&) { return std::string("OnDisk"); });

}  // namespace
}  // namespace stockpot::testing
