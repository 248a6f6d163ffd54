#include "client/adapter_directory.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace stockpot {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::IsOkAndHolds;
using testing::StatusIs;

constexpr char kPointer[] =
    "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";

class AdapterDirectoryTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) const {
    return temp_.path() + "/" + name;
  }
  void Write(const std::string& name, const std::string& text) const {
    std::ofstream(Path(name), std::ios::binary) << text;
  }
  absl::StatusOr<AdapterDirectory> Read() const {
    return ReadAdapterDirectory(temp_.path(), nullptr);
  }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(temp_.path())) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }

  testing::TempDir temp_;
};

TEST_F(AdapterDirectoryTest, HashesAllBytesAndNamesItself) {
  fs::create_directory(Path("facts"));
  // Over two chunks, the last one short.
  const std::string weights(2 * kChunkBytes + 5, 'w');
  Write("facts/adapter_config.json", R"({"r": 8})");
  Write("facts/adapter_model.safetensors", weights);
  std::vector<uint64_t> told;
  const auto adapter =
      ReadAdapterDirectory(Path("facts/"), [&](uint64_t done, uint64_t total) {
        told.push_back(done);
        EXPECT_EQ(total, weights.size());
      });
  ASSERT_THAT(adapter, IsOk());
  EXPECT_EQ(adapter->name, "facts");
  EXPECT_EQ(adapter->config, R"({"r": 8})");
  EXPECT_EQ(adapter->size_bytes, weights.size());
  EXPECT_EQ(adapter->sha256, Sha256::Of(weights));
  EXPECT_THAT(told, ::testing::ElementsAre(kChunkBytes, 2 * kChunkBytes,
                                           weights.size()));
}

TEST_F(AdapterDirectoryTest, MissingFilesAreNamed) {
  EXPECT_THAT(
      ReadAdapterDirectory(Path("none"), nullptr),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("no such directory")));
  EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kNotFound,
                               HasSubstr("adapter_config.json")));
  Write("adapter_config.json", "{}");
  EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kNotFound,
                               HasSubstr("adapter_model.safetensors")));
}

TEST_F(AdapterDirectoryTest, PickleIsRefusedWithTheConversion) {
  Write("adapter_config.json", "{}");
  Write("adapter_model.bin", "PK");
  EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kInvalidArgument,
                               AllOf(HasSubstr("pickle"),
                                     HasSubstr("weights_only=True"),
                                     HasSubstr("save_file"))));
}

TEST_F(AdapterDirectoryTest, LfsPointerIsRefusedWithTheCommand) {
  Write("adapter_config.json", "{}");
  Write("adapter_model.safetensors", kPointer);
  EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kInvalidArgument,
                               HasSubstr("git lfs pull")));
  Write("adapter_config.json", kPointer);
  EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kInvalidArgument,
                               AllOf(HasSubstr("adapter_config.json"),
                                     HasSubstr("git lfs pull"))));
}

TEST_F(AdapterDirectoryTest, BadConfigurationAndEmptyWeightsAreRefused) {
  Write("adapter_config.json", "[1]");
  Write("adapter_model.safetensors", "");
  EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kInvalidArgument,
                               HasSubstr("not a JSON object")));
  Write("adapter_config.json", "{");
  EXPECT_FALSE(Read().ok());
  Write("adapter_config.json", std::string(300 << 10, ' '));
  EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kInvalidArgument,
                               HasSubstr("larger than")));
  Write("adapter_config.json", "{}");
  EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kInvalidArgument,
                               HasSubstr("is empty")));
}

TEST_F(AdapterDirectoryTest, NamesFollowTheRegistrysRule) {
  for (const char* name :
       {"a", "facts", "smol-facts_v1.2", "0", "team-a/facts"}) {
    EXPECT_THAT(CheckAdapterName(name), IsOk()) << name;
  }
  EXPECT_THAT(CheckAdapterName("My Facts!"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("--name my-facts")));
  for (const std::string& name :
       {std::string(), std::string("-a"), std::string("a."),
        std::string("../x"), std::string("a//b"), std::string("a/b/c"),
        std::string("/a"), std::string("a\0b", 3), std::string(129, 'a'),
        std::string("\u00e4")}) {
    EXPECT_FALSE(CheckAdapterName(name).ok()) << name;
  }
  EXPECT_THAT(CheckAdapterName("..."),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("--name my-skill")));
}

TEST_F(AdapterDirectoryTest, WriterPutsBothFilesInPlaceAtTheEnd) {
  const std::string target = Path("new/deep");
  auto writer = AdapterDirectoryWriter::Open(target, /*overwrite=*/false);
  ASSERT_THAT(writer, IsOk());
  ASSERT_THAT((*writer)->Append("abc"), IsOk());
  ASSERT_THAT((*writer)->Append("def"), IsOk());
  EXPECT_FALSE(fs::exists(target + "/adapter_model.safetensors"));
  ASSERT_THAT((*writer)->Commit("{}", 6, Sha256::Of("abcdef").ToHex()), IsOk());
  EXPECT_THAT(ReadTextFile(target + "/adapter_model.safetensors", 100),
              IsOkAndHolds("abcdef"));
  EXPECT_THAT(ReadTextFile(target + "/adapter_config.json", 100),
              IsOkAndHolds("{}"));
}

TEST_F(AdapterDirectoryTest, WrongBytesLeaveNothing) {
  {
    auto writer = AdapterDirectoryWriter::Open(temp_.path(), false);
    ASSERT_THAT(writer, IsOk());
    ASSERT_THAT((*writer)->Append("abX"), IsOk());
    EXPECT_THAT((*writer)->Commit("{}", 3, Sha256::Of("abc").ToHex()),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("SHA-256")));
  }
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_F(AdapterDirectoryTest, OverwritesOnlyWhenTold) {
  Write("adapter_config.json", "old");
  EXPECT_THAT(AdapterDirectoryWriter::Open(temp_.path(), false),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("--force")));
  auto writer = AdapterDirectoryWriter::Open(temp_.path(), true);
  ASSERT_THAT(writer, IsOk());
  ASSERT_THAT((*writer)->Append("x"), IsOk());
  ASSERT_THAT((*writer)->Commit("new", 1, Sha256::Of("x").ToHex()), IsOk());
  EXPECT_THAT(ReadTextFile(Path("adapter_config.json"), 10),
              IsOkAndHolds("new"));
}

TEST_F(AdapterDirectoryTest, FileInPlaceOfTheDirectoryIsAnError) {
  Write("file", "x");
  EXPECT_FALSE(AdapterDirectoryWriter::Open(Path("file"), false).ok());
}

}  // namespace
}  // namespace stockpot
