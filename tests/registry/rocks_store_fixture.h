// A RocksStore in a temporary folder that tests may close, damage and open
// again.

#ifndef STOCKPOT_TESTS_REGISTRY_ROCKS_STORE_FIXTURE_H_
#define STOCKPOT_TESTS_REGISTRY_ROCKS_STORE_FIXTURE_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "rocksdb/db.h"

#include "base/log.h"
#include "base/mutex.h"
#include "registry/rocks_store.h"
#include "tests/registry/store_fixture.h"

namespace stockpot::testing {

namespace fs = std::filesystem;

inline constexpr size_t kMiB = size_t{1} << 20;

class RocksStoreTest : public ::testing::Test {
 protected:
  RocksStoreOptions Options() {
    RocksStoreOptions options;
    options.path = path_;
    options.reserve_bytes = kMiB;
    options.log = [this](Severity severity, absl::string_view line) {
      MutexLock lock(&mu_);
      if (severity == Severity::kError) {
        absl::StrAppend(&errors_, line, "\n");
      }
    };
    return options;
  }

  absl::Status Open() { return Open(Options()); }

  absl::Status Open(RocksStoreOptions options) {
    store_.reset();
    absl::StatusOr<std::unique_ptr<RocksStore>> store =
        RocksStore::Open(std::move(options));
    if (store.ok()) {
      store_ = *std::move(store);
    }
    return store.status();
  }

  // Files of the closed or open store whose names end so.
  std::vector<fs::path> Files(absl::string_view suffix) {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(path_)) {
      if (absl::EndsWith(entry.path().string(), suffix)) {
        files.push_back(entry.path());
      }
    }
    return files;
  }

  uint64_t BytesOf(absl::string_view suffix) {
    uint64_t bytes = 0;
    for (const fs::path& file : Files(suffix)) {
      bytes += fs::file_size(file);
    }
    return bytes;
  }

  static void FlipBit(const fs::path& file, uint64_t offset) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(static_cast<std::streamoff>(offset));
    const char byte = static_cast<char>(stream.get() ^ 0x10);
    stream.seekp(static_cast<std::streamoff>(offset));
    stream.put(byte);
    ASSERT_TRUE(stream.good());
  }

  // Changes the closed store behind its back.
  void Edit(const std::function<void(rocksdb::DB&)>& edit) {
    store_.reset();
    rocksdb::DB* db = nullptr;
    rocksdb::Options options;
    options.create_if_missing = true;
    ASSERT_TRUE(rocksdb::DB::Open(options, path_, &db).ok());
    edit(*db);
    delete db;
  }

  std::string Errors() {
    MutexLock lock(&mu_);
    return errors_;
  }

  TempDir dir_;
  std::string path_ = dir_.path() + "/db";
  Mutex mu_;
  std::string errors_;
  std::unique_ptr<RocksStore> store_;
};

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_REGISTRY_ROCKS_STORE_FIXTURE_H_
