// Files for the tests of formats/: where others' material lies, and small
// safetensors files made on the spot.

#ifndef STOCKPOT_TESTS_FORMATS_FIXTURES_H_
#define STOCKPOT_TESTS_FORMATS_FIXTURES_H_

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"

namespace stockpot::testing {

// The directory of material made by others, which is not in the repository.
inline std::filesystem::path MaterialDir() {
  const char* dir = std::getenv("STOCKPOT_MATERIAL");
  return dir != nullptr ? std::filesystem::path(dir)
                        : std::filesystem::path(STOCKPOT_SOURCE_DIR) / ".." /
                              "shared" / "material";
}

// Skips the test when `path` is absent.
#define STOCKPOT_SKIP_WITHOUT(path)                    \
  if (!std::filesystem::exists(path)) {                \
    GTEST_SKIP() << (path) << " is not here; see "     \
                 << "STOCKPOT_MATERIAL in the README"; \
  }

inline std::string ReadAll(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

inline void WriteAll(const std::filesystem::path& path,
                     const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// An empty directory of this test's own.
inline std::filesystem::path FreshDir() {
  const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
  const std::filesystem::path dir =
      std::filesystem::path(::testing::TempDir()) /
      absl::StrCat(info->test_suite_name(), ".", info->name());
  std::filesystem::remove_all(dir);
  std::filesystem::create_directories(dir);
  return dir;
}

// A safetensors file with the header `json` as written and `data` behind it.
inline std::string RawSafetensors(const std::string& json,
                                  const std::string& data = "") {
  std::string file(8, '\0');
  for (int i = 0; i < 8; ++i) {
    file[i] = static_cast<char>(static_cast<uint64_t>(json.size()) >> (8 * i));
  }
  return file + json + data;
}

struct TestTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::string dtype = "F32";
  int64_t element_bytes = 4;
};

// A safetensors file of zeros.
inline std::string ZeroSafetensors(const std::vector<TestTensor>& tensors) {
  std::vector<std::string> entries;
  int64_t position = 0;
  for (const TestTensor& tensor : tensors) {
    int64_t num_bytes = tensor.element_bytes;
    for (int64_t size : tensor.shape) {
      num_bytes *= size;
    }
    entries.push_back(absl::StrCat(
        "\"", tensor.name, "\":{\"dtype\":\"", tensor.dtype, "\",\"shape\":[",
        absl::StrJoin(tensor.shape, ","), "],\"data_offsets\":[", position, ",",
        position + num_bytes, "]}"));
    position += num_bytes;
  }
  return RawSafetensors(absl::StrCat("{", absl::StrJoin(entries, ","), "}"),
                        std::string(position, '\0'));
}

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_FORMATS_FIXTURES_H_
