// That the oracle of signatures finds readers with the bugs that readers of
// signed envelopes have had, from the corpus that the fuzz target starts with.

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "base/digest.h"
#include "formats/signature_bundle.h"
#include "tests/fuzz/mutation.h"
#include "tests/fuzz/signature_oracle.h"

namespace stockpot::testing {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

// By file name, so that runs are the same everywhere.
std::map<std::string, std::string> Corpus() {
  std::map<std::string, std::string> inputs;
  for (const auto& entry : std::filesystem::directory_iterator(
           STOCKPOT_SOURCE_DIR "/tests/fuzz/corpus/signature")) {
    std::ifstream file(entry.path(), std::ios::binary);
    inputs[entry.path().filename()] =
        std::string(std::istreambuf_iterator<char>(file), {});
  }
  return inputs;
}

enum class Bug {
  kSecondSignatureIgnored,
  kLooseBase64,
  kKeyTwice,
  kFileTwice,
  kSubjectUnchecked,
};

// What a reader finds that looks at nothing but what it needs.
absl::StatusOr<SignatureBundle> ReadBundleWithBug(const std::string& text,
                                                  Bug bug) {
  const absl::StatusOr<SignatureBundle> good = SignatureBundle::Parse(text);
  // As most readers, it keeps the last of two.
  const Json root = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (good.ok() || !root.is_object()) {
    return good;
  }
  const Json envelope = root.value("/dsseEnvelope"_json_pointer, Json());
  const Json signatures =
      envelope.is_object() ? envelope.value("signatures", Json()) : Json();
  const bool one = signatures.is_array() && signatures.size() == 1;
  const bool some = signatures.is_array() && !signatures.empty();
  if (!(bug == Bug::kSecondSignatureIgnored ? some : one) ||
      !signatures[0].is_object() || !signatures[0].contains("sig") ||
      !signatures[0]["sig"].is_string() || !envelope.contains("payload") ||
      !envelope["payload"].is_string()) {
    return good;
  }
  // The rest of it as our reader has it: only what the bug is about is left.
  Json plain = root;
  plain["dsseEnvelope"]["signatures"] = Json::array({signatures[0]});
  SignatureBundle read;
  if (!absl::Base64Unescape(envelope["payload"].get<std::string>(),
                            &read.payload) ||
      !absl::Base64Unescape(signatures[0]["sig"].get<std::string>(),
                            &read.signature)) {
    return good;
  }
  if (bug == Bug::kLooseBase64) {
    plain["dsseEnvelope"]["payload"] = absl::Base64Escape(read.payload);
    plain["dsseEnvelope"]["signatures"][0]["sig"] =
        absl::Base64Escape(read.signature);
  }
  const std::string rest =
      plain.dump(-1, ' ', false, Json::error_handler_t::replace);
  const absl::StatusOr<SignatureBundle> without = SignatureBundle::Parse(rest);
  return without.ok() ? without : good;
}

absl::StatusOr<std::map<std::string, Digest>> ReadFilesWithBug(
    const std::string& payload, Bug bug) {
  const auto good = ParseSignedFiles(payload);
  const Json root = Json::parse(payload, nullptr, /*allow_exceptions=*/false);
  if (good.ok() || !root.is_object() ||
      absl::StrContains(good.status().message(), "predicate.serialization")) {
    return good;
  }
  const bool is_twice =
      absl::StrContains(good.status().message(), "stands there twice");
  const bool is_subject =
      absl::StrContains(good.status().message(), "subject[0].digest");
  if (!(bug == Bug::kFileTwice && is_twice) &&
      !(bug == Bug::kSubjectUnchecked && is_subject)) {
    return good;
  }
  std::map<std::string, Digest> files;
  for (const Json& resource : root["predicate"]["resources"]) {
    const absl::StatusOr<Digest> digest =
        resource.is_object() && resource.contains("name") &&
                resource["name"].is_string() && resource.contains("digest") &&
                resource["digest"].is_string()
            ? Digest::FromHex(resource["digest"].get<std::string>())
            : absl::InvalidArgumentError("no digest");
    if (!digest.ok()) {
      return good;
    }
    files[resource["name"].get<std::string>()] = *digest;
  }
  return files;
}

struct Planted {
  Bug bug;
  const char* seen_as;  // What the oracle says of it.
};

void PrintTo(const Planted& planted, std::ostream* out) {
  *out << planted.seen_as;
}

class PlantedSignatureBugTest : public ::testing::TestWithParam<Planted> {};

TEST_P(PlantedSignatureBugTest, IsFound) {
  std::vector<std::string> seeds;
  for (const auto& [name, input] : Corpus()) {
    seeds.push_back(input);
  }
  std::mt19937_64 random(3);
  for (int i = 0; i < 100'000; ++i) {
    const std::string input = Mutate(seeds, random);
    const std::string text = BundleFromInput(input);
    const std::string payload = input.substr(0, input.find('\0'));
    const auto bundle = ReadBundleWithBug(text, GetParam().bug);
    const auto files = ReadFilesWithBug(payload, GetParam().bug);
    const std::string wrong =
        (bundle.ok() ? WrongInBundle(*bundle, text) : "") +
        (files.ok() ? WrongInSignedFiles(*files, payload) : "");
    if (absl::StrContains(wrong, GetParam().seen_as)) {
      std::printf("found by input %d: %s\n", i, wrong.c_str());
      return;
    }
  }
  FAIL() << "no mutation of the corpus showed the bug";
}

INSTANTIATE_TEST_SUITE_P(
    Bugs, PlantedSignatureBugTest,
    ::testing::Values(
        Planted{Bug::kSecondSignatureIgnored, "not one signature"},
        Planted{Bug::kLooseBase64, "is not what the JSON says"},
        Planted{Bug::kKeyTwice, "a key stands twice"},
        Planted{Bug::kFileTwice, "a file stands there twice"},
        Planted{Bug::kSubjectUnchecked, "subject is not the digest"}));

// The corpus must reach what lies behind the parsers' first refusals.
TEST(SignatureCorpusTest, HoldsWhatIsAcceptedAndEachRefusalOnce) {
  int num_accepted = 0;
  for (const auto& [name, input] : Corpus()) {
    const std::string payload = input.substr(0, input.find('\0'));
    const auto bundle = SignatureBundle::Parse(BundleFromInput(input));
    const auto files = ParseSignedFiles(payload);
    if (bundle.ok() && files.ok()) {
      ++num_accepted;
      EXPECT_EQ(bundle->payload, payload) << name;
      EXPECT_EQ(WrongInBundle(*bundle, BundleFromInput(input)), "") << name;
      EXPECT_EQ(WrongInSignedFiles(*files, payload), "") << name;
    } else {
      // For a single reason: in the bundle or in the statement.
      EXPECT_NE(bundle.ok(), files.ok())
          << name << ": " << bundle.status() << files.status();
    }
  }
  EXPECT_GE(num_accepted, 3);
}

TEST(SignatureOracleTest, SeesEveryWrongField) {
  const std::string input = Corpus().at("two_files");
  const std::string text = BundleFromInput(input);
  const std::string payload = input.substr(0, input.find('\0'));
  const SignatureBundle good = SignatureBundle::Parse(text).value();
  SignatureBundle wrong = good;
  wrong.payload += " ";
  EXPECT_THAT(WrongInBundle(wrong, text), HasSubstr("not what the JSON says"));
  wrong = good;
  wrong.signature[0] ^= 1;
  EXPECT_THAT(WrongInBundle(wrong, text), HasSubstr("not what the JSON says"));
  wrong = good;
  wrong.key_hint = "other";
  EXPECT_THAT(WrongInBundle(wrong, text), HasSubstr("hint"));
  const std::map<std::string, Digest> files = ParseSignedFiles(payload).value();
  ASSERT_EQ(files.size(), 2u);
  std::map<std::string, Digest> other = files;
  other.begin()->second.bytes[0] ^= 1;
  EXPECT_THAT(WrongInSignedFiles(other, payload), HasSubstr("files are not"));
  other = files;
  other.erase(other.begin());
  EXPECT_THAT(WrongInSignedFiles(other, payload), HasSubstr("files are not"));
  other = files;
  other["more"] = Digest{};
  EXPECT_THAT(WrongInSignedFiles(other, payload), HasSubstr("files are not"));
}

}  // namespace
}  // namespace stockpot::testing
