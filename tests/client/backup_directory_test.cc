#include "client/backup_directory.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <nlohmann/json.hpp>

#include "base/sha256.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace stockpot::testing {
namespace {

namespace fs = std::filesystem;

using ::testing::_;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr auto kAlreadyExists = absl::StatusCode::kAlreadyExists;
constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
constexpr auto kInvalidArgument = absl::StatusCode::kInvalidArgument;

std::string ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

void FlipBit(const fs::path& path, size_t at) {
  std::string bytes = ReadFile(path);
  ASSERT_LT(at, bytes.size());
  bytes[at] = static_cast<char>(bytes[at] ^ 1);
  std::ofstream(path, std::ios::binary) << bytes;
}

class BackupDirectoryTest : public ::testing::Test {
 protected:
  using Files = std::vector<std::pair<std::string, std::string>>;

  absl::StatusOr<BackupManifest> Write(const std::string& directory,
                                       const Files& files) {
    absl::StatusOr<std::unique_ptr<BackupWriter>> writer =
        BackupWriter::Open(directory);
    if (!writer.ok()) {
      return writer.status();
    }
    uint64_t size_bytes = 0;
    for (const auto& [name, bytes] : files) {
      EXPECT_THAT((*writer)->BeginFile(name, bytes.size()), IsOk());
      EXPECT_THAT((*writer)->Append(bytes.substr(0, 3)), IsOk());
      if (bytes.size() > 3) {
        EXPECT_THAT((*writer)->Append(bytes.substr(3)), IsOk());
      }
      EXPECT_THAT((*writer)->EndFile(Sha256::Of(bytes).ToHex()), IsOk());
      size_bytes += bytes.size();
    }
    return (*writer)->Commit(static_cast<uint32_t>(files.size()), size_bytes,
                             2);
  }

  static void Ignore(uint64_t) {}

  std::string Path(const std::string& name) { return dir_.path() + "/" + name; }

  // Names of all that lies in the folder of the test.
  std::vector<std::string> Names() {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(dir_.path())) {
      names.push_back(entry.path().filename());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  TempDir dir_;
  const Files files_ = {{"000007.blob", std::string(3'000'000, 'b')},
                        {"CURRENT", "MANIFEST-000005\n"},
                        {"MANIFEST-000005", "manifest"},
                        {"empty.log", ""}};
};

TEST_F(BackupDirectoryTest, WhatWasWrittenIsVerifiedAndRestored) {
  const absl::StatusOr<BackupManifest> written = Write(Path("b"), files_);
  ASSERT_THAT(written, IsOk());
  const absl::StatusOr<BackupManifest> read = ReadBackupManifest(Path("b"));
  ASSERT_THAT(read, IsOk());
  EXPECT_EQ(read->sha256(), written->sha256());
  EXPECT_EQ(read->format_version, 2u);
  EXPECT_EQ(read->size_bytes(), 3'000'024u);
  uint64_t done = 0;
  EXPECT_THAT(VerifyBackup(Path("b"), *read, [&](uint64_t now) { done = now; }),
              IsEmpty());
  EXPECT_EQ(done, 3'000'024u);
  ASSERT_THAT(RestoreBackup(Path("b"), *read, Path("t"), Ignore), IsOk());
  for (const auto& [name, bytes] : files_) {
    EXPECT_EQ(ReadFile(Path("t/" + name)), bytes) << name;
  }
  EXPECT_THAT(Names(), ElementsAre("b", "t"));
}

TEST_F(BackupDirectoryTest, AnEmptyTargetWillDoAFullOneWillNot) {
  const BackupManifest manifest = *Write(Path("b"), files_);
  fs::create_directory(Path("t"));
  ASSERT_THAT(RestoreBackup(Path("b"), manifest, Path("t/"), Ignore), IsOk());
  EXPECT_TRUE(fs::exists(Path("t/CURRENT")));
  EXPECT_THAT(RestoreBackup(Path("b"), manifest, Path("t"), Ignore),
              StatusIs(kAlreadyExists, HasSubstr("holds something")));
  EXPECT_THAT(Write(Path("b"), files_), StatusIs(kAlreadyExists, _));
  EXPECT_THAT(ReadBackupManifest(Path("b")), IsOk());
  // What a restore that was killed has left.
  fs::create_directory(Path("u.partial"));
  EXPECT_THAT(RestoreBackup(Path("b"), manifest, Path("u"), Ignore),
              StatusIs(kAlreadyExists, HasSubstr("delete it")));
  EXPECT_THAT(Names(), ElementsAre("b", "t", "u.partial"));
}

TEST_F(BackupDirectoryTest, AFlippedBitInAnyFileIsFoundByVerifyAndRestore) {
  for (size_t i = 0; i < 3; ++i) {
    const std::string name = files_[i].first;
    const std::string folder = Path("b" + std::to_string(i));
    const BackupManifest manifest = *Write(folder, files_);
    FlipBit(folder + "/files/" + name, files_[i].second.size() / 2);
    EXPECT_THAT(VerifyBackup(folder, manifest, Ignore),
                ElementsAre(AllOf(HasSubstr(name), HasSubstr("SHA-256"))));
    EXPECT_THAT(RestoreBackup(folder, manifest, Path("t"), Ignore),
                StatusIs(kDataLoss, HasSubstr(name)));
    EXPECT_FALSE(fs::exists(Path("t")));
    EXPECT_FALSE(fs::exists(Path("t.partial")));
  }
}

TEST_F(BackupDirectoryTest, MissingShortAndLongFilesAreFound) {
  const BackupManifest manifest = *Write(Path("b"), files_);
  fs::remove(Path("b/files/000007.blob"));
  fs::resize_file(Path("b/files/CURRENT"), 5);
  fs::resize_file(Path("b/files/empty.log"), 1);
  EXPECT_THAT(
      VerifyBackup(Path("b"), manifest, Ignore),
      ElementsAre(AllOf(HasSubstr("000007.blob"), HasSubstr("missing")),
                  AllOf(HasSubstr("CURRENT"), HasSubstr("5 of 16 bytes")),
                  AllOf(HasSubstr("empty.log"), HasSubstr("more than 0"))));
  EXPECT_THAT(RestoreBackup(Path("b"), manifest, Path("t"), Ignore),
              StatusIs(kDataLoss, _));
}

// Of each byte, so that no part of it goes unnoticed but the spaces.
TEST_F(BackupDirectoryTest, AFlippedBitInTheManifestNeverPasses) {
  ASSERT_THAT(Write(Path("b"), files_), IsOk());
  const std::string manifest = Path("b/stockpot-backup.json");
  const std::string good = ReadFile(manifest);
  const std::string sha256 = ReadBackupManifest(Path("b"))->sha256();
  int num_found = 0;
  for (size_t i = 0; i < good.size(); ++i) {
    FlipBit(manifest, i);
    const absl::StatusOr<BackupManifest> read = ReadBackupManifest(Path("b"));
    num_found += read.ok() ? 0 : 1;
    if (read.ok()) {
      EXPECT_EQ(read->sha256(), sha256) << "byte " << i;
    }
    std::ofstream(manifest, std::ios::binary) << good;
  }
  EXPECT_GT(num_found, static_cast<int>(good.size()) / 2);
}

TEST_F(BackupDirectoryTest, ACutBackupIsRefused) {
  ASSERT_THAT(Write(Path("b"), files_), IsOk());
  // As a client that was killed before its end leaves it.
  fs::rename(Path("b/files"), Path("b/files.partial"));
  EXPECT_THAT(ReadBackupManifest(Path("b")),
              StatusIs(kDataLoss, HasSubstr("was cut")));
  fs::remove(Path("b/stockpot-backup.json"));
  EXPECT_THAT(ReadBackupManifest(Path("b")),
              StatusIs(kDataLoss, HasSubstr("was cut")));
  fs::remove_all(Path("b/files.partial"));
  EXPECT_THAT(ReadBackupManifest(Path("b")),
              StatusIs(absl::StatusCode::kNotFound, _));
}

TEST_F(BackupDirectoryTest, AWriterThatIsGivenUpLeavesNothing) {
  for (const bool there : {false, true}) {
    if (there) {
      fs::create_directory(Path("b"));
    }
    auto writer = *BackupWriter::Open(Path("b"));
    ASSERT_THAT(writer->BeginFile("CURRENT", 5), IsOk());
    ASSERT_THAT(writer->Append("1234"), IsOk());
    writer.reset();
    EXPECT_EQ(fs::exists(Path("b")), there);
    EXPECT_TRUE(!there || fs::is_empty(Path("b")));
  }
}

TEST_F(BackupDirectoryTest, WhatDoesNotAgreeIsDataLoss) {
  auto writer = *BackupWriter::Open(Path("b"));
  EXPECT_THAT(writer->Append("x"), StatusIs(kDataLoss, HasSubstr("no file")));
  EXPECT_THAT(writer->EndFile("x"), StatusIs(kDataLoss, _));
  ASSERT_THAT(writer->BeginFile("CURRENT", 3), IsOk());
  EXPECT_THAT(writer->BeginFile("OTHER", 3), StatusIs(kDataLoss, _));
  ASSERT_THAT(writer->Append("ab"), IsOk());
  EXPECT_THAT(writer->Append("cd"),
              StatusIs(kDataLoss, HasSubstr("more than the 3 bytes")));
  auto second = *BackupWriter::Open(Path("c"));
  ASSERT_THAT(second->BeginFile("CURRENT", 3), IsOk());
  ASSERT_THAT(second->Append("abc"), IsOk());
  EXPECT_THAT(second->EndFile(Sha256::Of("abd").ToHex()),
              StatusIs(kDataLoss, HasSubstr("CURRENT")));
  EXPECT_THAT(second->Commit(1, 3, 2), StatusIs(kDataLoss, _));
  auto third = *BackupWriter::Open(Path("d"));
  ASSERT_THAT(third->BeginFile("CURRENT", 0), IsOk());
  ASSERT_THAT(third->EndFile(Sha256::Of("").ToHex()), IsOk());
  EXPECT_THAT(third->Commit(2, 0, 2),
              StatusIs(kDataLoss, HasSubstr("not whole")));
}

TEST_F(BackupDirectoryTest, NamesNeverBecomePathsElsewhere) {
  auto writer = *BackupWriter::Open(Path("b"));
  for (const char* name : {"", ".", "..", "../x", "a/b", "/etc/x", "a\nb"}) {
    EXPECT_THAT(writer->BeginFile(name, 1), StatusIs(kInvalidArgument, _))
        << name;
  }
  ASSERT_THAT(writer->BeginFile("CURRENT", 0), IsOk());
  ASSERT_THAT(writer->EndFile(Sha256::Of("").ToHex()), IsOk());
  EXPECT_THAT(writer->BeginFile("CURRENT", 0), StatusIs(kAlreadyExists, _));
}

// Whoever changes a manifest can also make its hash fit.
TEST_F(BackupDirectoryTest, AManifestOfAStrangerReachesNothingElsewhere) {
  ASSERT_THAT(Write(Path("b"), files_), IsOk());
  std::ofstream(Path("secret")) << "secret";
  const BackupFileEntry good = {"CURRENT", 16,
                                Sha256::Of("MANIFEST-000005\n").ToHex()};
  const auto read = [&](const std::vector<BackupFileEntry>& files) {
    BackupManifest manifest;
    manifest.format_version = 2;
    manifest.files = files;
    nlohmann::json json = {{"kind", "stockpot-backup"},
                           {"version", 1},
                           {"registry_format", 2},
                           {"sha256", manifest.sha256()},
                           {"files", nlohmann::json::array()}};
    for (const BackupFileEntry& file : files) {
      json["files"].push_back({{"name", file.name},
                               {"size_bytes", file.size_bytes},
                               {"sha256", file.sha256}});
    }
    std::ofstream(Path("b/stockpot-backup.json")) << json.dump();
    return ReadBackupManifest(Path("b"));
  };
  for (const char* name : {"", "..", "../../secret", "/etc/passwd", ".x"}) {
    EXPECT_THAT(read({good, {name, 6, Sha256::Of("secret").ToHex()}}),
                StatusIs(kDataLoss, HasSubstr("cannot be a file of a backup")))
        << name;
  }
  EXPECT_THAT(read({good, good}),
              StatusIs(kDataLoss, HasSubstr("lists CURRENT twice")));
  // What it declares is not allocated, and not made.
  BackupFileEntry huge = good;
  huge.size_bytes = ~uint64_t{0};
  const auto manifest = read({huge});
  ASSERT_THAT(manifest, IsOk());
  EXPECT_THAT(RestoreBackup(Path("b"), *manifest, Path("t"), Ignore),
              StatusIs(kDataLoss, HasSubstr("CURRENT")));
  EXPECT_FALSE(fs::exists(Path("t")));
  EXPECT_FALSE(fs::exists(Path("t.partial")));
}

// Nobody writes to the pipe, so opening it would never return.
TEST_F(BackupDirectoryTest, WhatIsNoFileIsNotOpened) {
  const BackupManifest manifest = *Write(Path("b"), files_);
  const std::string current = Path("b/files/CURRENT");
  fs::remove(current);
  ASSERT_EQ(mkfifo(current.c_str(), 0600), 0);
  EXPECT_THAT(
      VerifyBackup(Path("b"), manifest, Ignore),
      ElementsAre(AllOf(HasSubstr("CURRENT"), HasSubstr("it is not a file"))));
  EXPECT_THAT(RestoreBackup(Path("b"), manifest, Path("t"), Ignore),
              StatusIs(kDataLoss, HasSubstr("it is not a file")));
}

}  // namespace
}  // namespace stockpot::testing
