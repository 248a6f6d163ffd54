#include "formats/checkpoint.h"

#include <filesystem>
#include <string>
#include <utility>

#include "gmock/gmock.h"

#include "formats/mapped_file.h"
#include "tests/formats/fixtures.h"
#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::FreshDir;
using ::stockpot::testing::IsOk;
using ::stockpot::testing::IsOkAndHolds;
using ::stockpot::testing::MaterialDir;
using ::stockpot::testing::RawSafetensors;
using ::stockpot::testing::StatusIs;
using ::stockpot::testing::WriteAll;
using ::stockpot::testing::ZeroSafetensors;
using ::testing::_;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kNotFound = absl::StatusCode::kNotFound;

TEST(MappedFileTest, BytesAreTheFilesAndSurviveAMoveAndDroppedPages) {
  const auto path = FreshDir() / "f";
  WriteAll(path, "hello");
  auto file = MappedFile::Open(path);
  ASSERT_THAT(file, IsOk());
  const absl::string_view bytes = file->bytes();
  MappedFile moved = *std::move(file);
  EXPECT_EQ(moved.bytes(), "hello");
  EXPECT_EQ(moved.bytes().data(), bytes.data());
  moved.DropPages();
  EXPECT_EQ(moved.bytes(), "hello");
}

TEST(MappedFileTest, MissingEmptyAndIrregularFiles) {
  const auto dir = FreshDir();
  WriteAll(dir / "empty", "");
  EXPECT_THAT(MappedFile::Open(dir / "gone"),
              StatusIs(kNotFound, HasSubstr("gone")));
  EXPECT_THAT(MappedFile::Open(dir), StatusIs(kInvalid, _));
  auto empty = MappedFile::Open(dir / "empty");
  ASSERT_THAT(empty, IsOk());
  EXPECT_TRUE(empty->bytes().empty());
}

TEST(ReadFileTest, SizeIsBounded) {
  const auto path = FreshDir() / "f";
  WriteAll(path, "hello");
  EXPECT_THAT(ReadFile(path, 5), IsOkAndHolds("hello"));
  EXPECT_THAT(ReadFile(path, 4), StatusIs(kInvalid, HasSubstr("at most 4")));
}

TEST(CheckpointTest, SingleFileGivesViewsOfItsTensors) {
  const auto dir = FreshDir();
  WriteAll(dir / "model.safetensors",
           RawSafetensors(
               R"({"b":{"dtype":"BF16","shape":[2],"data_offsets":[2,6]},)"
               R"("a":{"dtype":"U8","shape":[1,2],"data_offsets":[0,2]}})",
               "aaBBBB"));
  const auto checkpoint = Checkpoint::Open(dir);
  ASSERT_THAT(checkpoint, IsOk());
  EXPECT_THAT(checkpoint->Names(), ElementsAre("a", "b"));
  EXPECT_EQ(checkpoint->num_bytes(), 6);
  const auto view = checkpoint->Find("b");
  ASSERT_THAT(view, IsOk());
  EXPECT_EQ(view->dtype, Dtype::kBF16);
  EXPECT_THAT(view->shape, ElementsAre(2));
  EXPECT_EQ(view->bytes, "BBBB");
  EXPECT_TRUE(checkpoint->Contains("a"));
  EXPECT_FALSE(checkpoint->Contains("c"));
  EXPECT_THAT(checkpoint->Find("c"), StatusIs(kNotFound, HasSubstr("\"c\"")));
}

// A directory with shards one (a) and two (b) and an index that says `map`.
std::filesystem::path ShardedDir(const std::string& map) {
  const auto dir = FreshDir();
  WriteAll(dir / "one.safetensors", ZeroSafetensors({{"a", {1}}}));
  WriteAll(dir / "two.safetensors", ZeroSafetensors({{"b", {2}}}));
  WriteAll(dir / "model.safetensors.index.json",
           R"({"metadata":{"total_size":12},"weight_map":)" + map + "}");
  return dir;
}

TEST(CheckpointTest, ShardsAreJoined) {
  const auto checkpoint = Checkpoint::Open(
      ShardedDir(R"({"a":"one.safetensors","b":"two.safetensors"})"));
  ASSERT_THAT(checkpoint, IsOk());
  EXPECT_THAT(checkpoint->Names(), ElementsAre("a", "b"));
  EXPECT_EQ(checkpoint->Find("b")->bytes.size(), 8);
}

TEST(CheckpointTest, IndexMustNameItsShardsTruthfully) {
  EXPECT_THAT(Checkpoint::Open(ShardedDir(
                  R"({"a":"one.safetensors","b":"one.safetensors"})")),
              StatusIs(kInvalid, AllOf(HasSubstr("\"b\""),
                                       HasSubstr("one.safetensors"))));
  EXPECT_THAT(Checkpoint::Open(ShardedDir(
                  R"({"a":"two.safetensors","b":"one.safetensors"})")),
              StatusIs(kInvalid, _));
  EXPECT_THAT(Checkpoint::Open(ShardedDir(R"({"a":"three.safetensors"})")),
              StatusIs(kNotFound, HasSubstr("three.safetensors")));
}

TEST(CheckpointTest, ShardNamesAreNoPaths) {
  for (const char* name : {"../one.safetensors", "/etc/passwd", ".", "..", "",
                           "a/b", ".hidden", "a\\\\b", "a\\u0000b"}) {
    EXPECT_THAT(
        Checkpoint::Open(ShardedDir(absl::StrCat(R"({"a":")", name, "\"}"))),
        StatusIs(kInvalid, HasSubstr("weight_map")))
        << name;
  }
  EXPECT_THAT(Checkpoint::Open(ShardedDir(R"({"a":1})")),
              StatusIs(kInvalid, HasSubstr("weight_map")));
  EXPECT_THAT(Checkpoint::Open(ShardedDir("[]")),
              StatusIs(kInvalid, HasSubstr("weight_map")));
}

TEST(CheckpointTest, TensorInTwoShardsIsRefused) {
  const auto dir =
      ShardedDir(R"({"a":"one.safetensors","b":"two.safetensors"})");
  WriteAll(dir / "two.safetensors", ZeroSafetensors({{"a", {1}}, {"b", {1}}}));
  EXPECT_THAT(Checkpoint::Open(dir),
              StatusIs(kInvalid, HasSubstr("in two shards")));
}

TEST(CheckpointTest, PickleOnlyDirectorySaysHowToConvert) {
  const auto dir = FreshDir();
  EXPECT_THAT(Checkpoint::Open(dir),
              StatusIs(kNotFound, HasSubstr("has neither")));
  WriteAll(dir / "pytorch_model.bin", "\x80\x02");
  EXPECT_THAT(Checkpoint::Open(dir),
              StatusIs(kNotFound, HasSubstr("save_pretrained")));
}

TEST(CheckpointTest, ReadsRealModels) {
  const auto dir = MaterialDir() / "weights";
  STOCKPOT_SKIP_WITHOUT(dir);
  const auto llama = Checkpoint::Open(dir / "stories260K");
  ASSERT_THAT(llama, IsOk());
  const auto view = llama->Find("model.embed_tokens.weight");
  ASSERT_THAT(view, IsOk());
  EXPECT_THAT(view->shape, ElementsAre(512, 64));
  EXPECT_EQ(view->bytes.size(), 512 * 64 * 4);
  EXPECT_THAT(Checkpoint::Open(dir / "tiny-random-gpt2"), IsOk());
}

}  // namespace
}  // namespace stockpot
