// Replays the committed corpus and mutations of it through every fuzz target;
// shows that the oracles see planted bugs; and holds the safetensors reader to
// the verdicts of the reference reader.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <ostream>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "formats/safetensors.h"
#include "tests/fuzz/mutation.h"
#include "tests/fuzz/oracles.h"
#include "tests/fuzz/targets.h"
#include "tests/testing/material.h"

namespace stockpot::testing {

// What ctest calls the case.
void PrintTo(const FuzzTarget& target, std::ostream* out) {
  *out << target.name;
}

namespace {

using ::testing::HasSubstr;

namespace fs = std::filesystem;

constexpr char kFolder[] = STOCKPOT_SOURCE_DIR "/tests/fuzz/";

std::string ReadFile(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(stream), {});
}

// By file name, so that runs are the same everywhere.
std::map<std::string, std::string> Corpus(const std::string& target) {
  std::map<std::string, std::string> files;
  for (const auto& entry :
       fs::directory_iterator(kFolder + ("corpus/" + target))) {
    files[entry.path().filename()] = ReadFile(entry.path());
  }
  return files;
}

std::vector<std::string> Seeds(const std::string& target) {
  std::vector<std::string> seeds;
  for (auto& [name, bytes] : Corpus(target)) {
    seeds.push_back(std::move(bytes));
  }
  return seeds;
}

int NumMutations() {
  int number = 0;
  const char* const text = std::getenv("STOCKPOT_FUZZ_MUTATIONS");
  return text != nullptr && absl::SimpleAtoi(text, &number) ? number : 10'000;
}

class ReplayTest : public ::testing::TestWithParam<FuzzTarget> {};

TEST_P(ReplayTest, CorpusAndItsMutationsBreakNothing) {
  const std::vector<std::string> seeds = Seeds(GetParam().name);
  ASSERT_GE(seeds.size(), 3u);
  for (const std::string& seed : seeds) {
    GetParam().run(seed);
  }
  std::mt19937_64 random(1);
  for (int i = 0; i < NumMutations(); ++i) {
    GetParam().run(Mutate(seeds, random));
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, ReplayTest, ::testing::ValuesIn(kFuzzTargets),
                         [](const auto& info) {
                           return std::string(info.param.name);
                         });

// The corpus must reach what lies behind the parsers' first refusals.
TEST(CorpusTest, HoldsFilesThatAreAccepted) {
  int accepted = 0;
  for (const auto& [name, bytes] : Corpus("safetensors")) {
    const SafetensorsInput file = SafetensorsFromInput(bytes);
    accepted +=
        ParseSafetensorsHeader(file.head, file.file_bytes, AdapterLimits()).ok()
            ? 1
            : 0;
  }
  EXPECT_GE(accepted, 4);
}

// A reader with the bugs that readers of this format have had.
enum class Bug { kOverlaps, kHoles, kSizeOffByOne, kEndUnchecked };

absl::StatusOr<SafetensorsHeader> ReadWithBug(const SafetensorsInput& file,
                                              Bug bug) {
  absl::StatusOr<SafetensorsHeader> good =
      ParseSafetensorsHeader(file.head, file.file_bytes, AdapterLimits());
  if (good.ok()) {
    return good;
  }
  const std::string json =
      file.head.substr(std::min<size_t>(8, file.head.size()));
  const auto root = nlohmann::json::parse(json, nullptr, false);
  if (!root.is_object()) {
    return good;
  }
  SafetensorsHeader header;
  header.data_offset = file.head.size();
  for (const auto& [name, entry] : root.items()) {
    TensorInfo tensor;
    tensor.name = name;
    if (!entry.is_object() || !entry.contains("data_offsets") ||
        !entry["data_offsets"].is_array() ||
        entry["data_offsets"].size() != 2 || !entry.contains("dtype") ||
        entry["dtype"] != "F32" || !entry.contains("shape")) {
      return good;
    }
    for (const auto& size : entry["shape"]) {
      if (!size.is_number_unsigned()) {
        return good;
      }
      tensor.shape.push_back(size);
    }
    if (!entry["data_offsets"][0].is_number_unsigned() ||
        !entry["data_offsets"][1].is_number_unsigned()) {
      return good;
    }
    tensor.begin = entry["data_offsets"][0];
    tensor.end = entry["data_offsets"][1];
    header.tensors.push_back(std::move(tensor));
  }
  std::sort(header.tensors.begin(), header.tensors.end(),
            [](const auto& a, const auto& b) {
              return std::tie(a.begin, a.name) < std::tie(b.begin, b.name);
            });
  // All checks of the format but the one that the bug lacks.
  uint64_t position = 0;
  for (const TensorInfo& tensor : header.tensors) {
    uint64_t bytes = 4;
    for (const int64_t size : tensor.shape) {
      bytes = size > 1'000'000 ? uint64_t{1} << 60 : bytes * size;
    }
    const uint64_t slack = bug == Bug::kSizeOffByOne ? 1 : 0;
    if (tensor.end < tensor.begin ||
        tensor.end - tensor.begin > bytes + slack ||
        tensor.end - tensor.begin + slack < bytes ||
        (tensor.begin < position && bug != Bug::kOverlaps) ||
        (tensor.begin > position && bug != Bug::kHoles)) {
      return good;
    }
    position = tensor.end;
  }
  const uint64_t data_bytes = file.file_bytes - file.head.size();
  if (position != data_bytes && bug != Bug::kEndUnchecked) {
    return good;
  }
  return header;
}

struct Planted {
  Bug bug;
  const char* seen_as;  // What the oracle says of it.
};

void PrintTo(const Planted& planted, std::ostream* out) {
  *out << planted.seen_as;
}

class PlantedBugTest : public ::testing::TestWithParam<Planted> {};

TEST_P(PlantedBugTest, IsFound) {
  const std::vector<std::string> seeds = Seeds("safetensors");
  std::mt19937_64 random(2);
  for (int i = 0; i < 200'000; ++i) {
    const SafetensorsInput file = SafetensorsFromInput(Mutate(seeds, random));
    const absl::StatusOr<SafetensorsHeader> header =
        ReadWithBug(file, GetParam().bug);
    const std::string wrong = header.ok() ? WrongInHeader(*header, file) : "";
    if (absl::StrContains(wrong, GetParam().seen_as)) {
      std::printf("found by input %d: %s\n", i, wrong.c_str());
      return;
    }
  }
  FAIL() << "no mutation of the corpus showed the bug";
}

INSTANTIATE_TEST_SUITE_P(
    Bugs, PlantedBugTest,
    ::testing::Values(Planted{Bug::kOverlaps, "overlaps the one before"},
                      Planted{Bug::kHoles, "has a hole before it"},
                      Planted{Bug::kSizeOffByOne, "size is not the shape's"},
                      Planted{Bug::kEndUnchecked, "bytes that no tensor"}));

TEST(OracleTest, SeesEveryWrongField) {
  const SafetensorsInput file = SafetensorsFromInput(
      R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
      R"("b":{"dtype":"F32","shape":[1,1],"data_offsets":[8,12]}}12)");
  const absl::StatusOr<SafetensorsHeader> good =
      ParseSafetensorsHeader(file.head, file.file_bytes, AdapterLimits());
  ASSERT_TRUE(good.ok());
  ASSERT_EQ(WrongInHeader(*good, file), "");
  const auto wrong = [&](const std::function<void(SafetensorsHeader&)>& edit) {
    SafetensorsHeader bad = *good;
    edit(bad);
    return WrongInHeader(bad, file);
  };
  EXPECT_THAT(wrong([](auto& h) { h.tensors[1].begin = 4; }),
              HasSubstr("size is not"));
  EXPECT_THAT(wrong([](auto& h) {
                h.tensors[1].begin = 4;
                h.tensors[1].shape = {2};
              }),
              HasSubstr("overlaps"));
  EXPECT_THAT(wrong([](auto& h) { h.tensors[1].end = 16; }),
              HasSubstr("out of bounds"));
  EXPECT_THAT(wrong([](auto& h) {
                h.tensors[0].shape = {1, 2};
              }),
              HasSubstr("not what the JSON says"));
  EXPECT_THAT(wrong([](auto& h) { h.tensors.pop_back(); }),
              HasSubstr("no tensor covers"));
  EXPECT_THAT(wrong([](auto& h) { h.data_offset += 4; }),
              HasSubstr("not where it says"));
}

// Our reader is the stricter one; where it is, the verdict file says so.
TEST(ReferenceTest, VerdictsAreThoseOfTheReferenceReader) {
  const nlohmann::json golden =
      nlohmann::json::parse(ReadFile(std::string(kFolder) + "verdicts.json"));
  SafetensorsLimits limits = ModelLimits();
  limits.strict_padding = false;
  limits.strict_names = false;
  int num_compared = 0;
  const auto compare = [&](const std::string& name,
                           const SafetensorsInput& file,
                           const nlohmann::json& verdict) {
    const absl::Status status =
        ParseSafetensorsHeader(file.head, file.file_bytes, limits).status();
    const bool expected =
        verdict["reference"] == "accepts" && !verdict.contains("stricter");
    EXPECT_EQ(status.ok(), expected) << name << ": " << status;
    ++num_compared;
  };
  const std::map<std::string, std::string> corpus = Corpus("safetensors");
  for (const auto& [name, verdict] : golden["corpus"].items()) {
    ASSERT_TRUE(corpus.contains(name)) << name;
    compare(name, SafetensorsFromInput(corpus.at(name)), verdict);
  }
  EXPECT_EQ(golden["corpus"].size(), corpus.size())
      << "run make_verdicts.py again";
  for (const auto& [name, verdict] : golden["material"].items()) {
    const std::string path = MaterialPath("hostile/safetensors/" + name);
    if (!path.empty()) {
      const std::string bytes = ReadFile(path);
      compare(name, {bytes, bytes.size()}, verdict);
    }
  }
  std::printf("%d files, safetensors %s\n", num_compared,
              golden["safetensors"].get<std::string>().c_str());
}

}  // namespace
}  // namespace stockpot::testing
