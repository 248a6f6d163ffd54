// Reads the golden files of make_tokenizer_goldens.py.

#ifndef STOCKPOT_TESTS_TOKENIZER_GOLDEN_FILES_H_
#define STOCKPOT_TESTS_TOKENIZER_GOLDEN_FILES_H_

#include <fstream>
#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "formats/tokenizer/tokenizer.h"
#include "tests/testing/status_matchers.h"

namespace stockpot {

inline std::string GoldenPath(const std::string& name) {
  return std::string(STOCKPOT_SOURCE_DIR) + "/tests/golden/tokenizer/" + name;
}

// Null when the file cannot be read.
inline nlohmann::json ReadJson(const std::string& path) {
  std::ifstream file(path);
  if (!file) return nlohmann::json();
  return nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
}

// Null, and a failure, when the tokenizer does not load.
inline std::unique_ptr<Tokenizer> LoadOrFail(const std::string& dir) {
  auto tokenizer = Tokenizer::Load(dir);
  EXPECT_THAT(tokenizer, testing::IsOk());
  if (!tokenizer.ok()) return nullptr;
  return *std::move(tokenizer);
}

}  // namespace stockpot

#endif  // STOCKPOT_TESTS_TOKENIZER_GOLDEN_FILES_H_
