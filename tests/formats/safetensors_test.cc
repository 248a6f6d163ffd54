#include "formats/safetensors.h"

#include <string>

#include "gmock/gmock.h"

#include "formats/json.h"
#include "tests/formats/fixtures.h"
#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::IsOkAndHolds;
using ::stockpot::testing::MaterialDir;
using ::stockpot::testing::RawSafetensors;
using ::stockpot::testing::ReadAll;
using ::stockpot::testing::StatusIs;
using ::stockpot::testing::ZeroSafetensors;
using ::testing::_;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

absl::StatusOr<SafetensorsHeader> ParseFile(const std::string& file,
                                            const SafetensorsLimits& limits) {
  return ParseSafetensorsHeader(file, file.size(), limits);
}

// An entry of one F32 tensor, `shape` and offsets as given.
std::string Entry(const std::string& name, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + R"(":{"dtype":"F32","shape":)" + shape +
         R"(,"data_offsets":)" + offsets + "}";
}

std::string Header(const std::string& entries) { return "{" + entries + "}"; }

TEST(SafetensorsTest, TensorsAreSortedByPlaceAndCoverTheData) {
  const std::string file = RawSafetensors(
      R"({"__metadata__":{"format":"pt"},)" + Entry("b", "[2]", "[4,12]") +
          "," + Entry("a", "[1]", "[12,16]") + "," + Entry("c", "[]", "[0,4]") +
          "}   ",
      std::string(16, 'x'));
  const auto header = ParseFile(file, AdapterLimits());
  ASSERT_THAT(header, IsOk());
  ASSERT_EQ(header->tensors.size(), 3);
  EXPECT_EQ(header->tensors[0].name, "c");
  EXPECT_EQ(header->tensors[0].num_elements(), 1);
  EXPECT_EQ(header->tensors[1].name, "b");
  EXPECT_THAT(header->tensors[1].shape, ElementsAre(2));
  EXPECT_EQ(header->tensors[1].begin, 4);
  EXPECT_EQ(header->tensors[1].end, 12);
  EXPECT_EQ(header->metadata.at("format"), "pt");
  EXPECT_EQ(header->data_offset + 16, file.size());
  EXPECT_EQ(header->Find("a"), &header->tensors[2]);
  EXPECT_EQ(header->Find("d"), nullptr);
}

TEST(SafetensorsTest, HeaderBytesCountTheLengthToo) {
  const std::string file = RawSafetensors("{}");
  EXPECT_THAT(
      SafetensorsHeaderBytes(file.substr(0, 8), file.size(), AdapterLimits()),
      IsOkAndHolds(10));
  EXPECT_THAT(
      SafetensorsHeaderBytes(file.substr(0, 7), file.size(), AdapterLimits()),
      StatusIs(kInvalid, _));
  EXPECT_THAT(SafetensorsHeaderBytes(file.substr(0, 8), 9, AdapterLimits()),
              StatusIs(kInvalid, HasSubstr("cut short")));
}

TEST(SafetensorsTest, HeaderBeyondTheLimitIsRefusedBeforeItIsRead) {
  const std::string prefix("\x01\x00\x10\x00\x00\x00\x00\x00", 8);
  EXPECT_THAT(SafetensorsHeaderBytes(prefix, 1 << 30, AdapterLimits()),
              StatusIs(kInvalid, HasSubstr("1048577")));
  EXPECT_THAT(SafetensorsHeaderBytes(prefix, 1 << 30, ModelLimits()), IsOk());
  const std::string all_ones(8, '\xFF');
  EXPECT_THAT(SafetensorsHeaderBytes(all_ones, 1 << 30, ModelLimits()),
              StatusIs(kInvalid, _));
}

TEST(SafetensorsTest, OtherFormatsAreNamedWithTheWayOut) {
  const std::string filler(300, 'z');
  EXPECT_THAT(ParseFile("PK\x03\x04" + filler, AdapterLimits()),
              StatusIs(kInvalid, AllOf(HasSubstr("zip checkpoint"),
                                       HasSubstr("save_file"))));
  EXPECT_THAT(ParseFile("\x80\x02}q" + filler, AdapterLimits()),
              StatusIs(kInvalid, HasSubstr("pickle checkpoint")));
  EXPECT_THAT(ParseFile("GGUF" + filler, AdapterLimits()),
              StatusIs(kInvalid, HasSubstr("GGUF")));
  EXPECT_THAT(
      ParseFile("version https://git-lfs.github.com/spec/v1\n", ModelLimits()),
      StatusIs(kInvalid, HasSubstr("git lfs pull")));
  // A zip whose first 8 bytes are a length that fits.
  std::string zip("PK\x03\x00\x00\x00\x00\x00", 8);
  zip[3] = 0;
  zip.resize(0x034B50 + 8, ' ');
  EXPECT_THAT(ParseFile(zip, AdapterLimits()),
              StatusIs(kInvalid, HasSubstr("begin with '{'")));
}

TEST(SafetensorsTest, LengthThatLooksLikeAPickleIsALength) {
  const std::string file = RawSafetensors("{}" + std::string(0x280 - 2, ' '));
  ASSERT_EQ(file.substr(0, 2), "\x80\x02");
  EXPECT_THAT(ParseFile(file, AdapterLimits()), IsOk());
}

TEST(SafetensorsTest, EachBrokenRuleIsNamed) {
  struct Case {
    std::string header;
    int data_bytes;
    std::string message;
  };
  const std::string good = Entry("a", "[1]", "[0,4]");
  const Case cases[] = {
      {" {}", 0, "begin with '{'"},
      {"{}\n", 0, "end with '}'"},
      {"{}{}", 0, "not JSON"},
      {"{", 0, "end with '}'"},
      {Header(good) + std::string(1, '\0'), 4, "end with '}'"},
      {Header(good), 5, "trailing bytes"},
      {Header(good), 3, "cut short"},
      {Header(good + "," + good), 4, "\"a\" stands twice"},
      {Header(good + "," + Entry("b", "[1]", "[8,12]")), 12, "a hole"},
      {Header(good + "," + Entry("b", "[1]", "[0,4]")), 4, "overlaps"},
      {Header(good + "," + Entry("b", "[2]", "[2,10]")), 10, "overlaps"},
      {Header(Entry("a", "[1]", "[4,0]")), 4, "before it begins"},
      {Header(Entry("a", "[2]", "[0,4]")), 4, "needs 8 bytes"},
      {Header(Entry("a", "[1.0]", "[0,4]")), 4, "\"shape\""},
      {Header(Entry("a", "[1e0]", "[0,4]")), 4, "\"shape\""},
      {Header(Entry("a", "[-1]", "[0,4]")), 4, "\"shape\""},
      {Header(Entry("a", "[-0]", "[0,0]")), 0, "\"shape\""},
      {Header(Entry("a", "[01]", "[0,4]")), 4, "not JSON"},
      {Header(Entry("a", "1", "[0,4]")), 4, "\"shape\""},
      {Header(Entry("a", "[1]", "[0,4,4]")), 4, "\"data_offsets\""},
      {Header(Entry("a", "[1]", "[0,\"4\"]")), 4, "\"data_offsets\""},
      {Header(Entry("a", "[1]", "[0,4.0]")), 4, "\"data_offsets\""},
      {Header(Entry("a", "[4611686018427387904,4]", "[0,0]")), 0, "64 bits"},
      {Header(Entry("a", "[18446744073709551615]", "[0,4]")), 4, "2^63"},
      {Header(Entry("", "[1]", "[0,4]")), 4, "empty name"},
      {Header(Entry("a b", "[1]", "[0,4]")), 4, "may only hold"},
      {Header(Entry("../a", "[1]", "[0,4]")), 4, "may only hold"},
      {Header(Entry(std::string(257, 'a'), "[1]", "[0,4]")), 4, "257 bytes"},
      {R"({"a":[1]})", 0, "must be an object"},
      {R"({"a":{"dtype":"F31","shape":[],"data_offsets":[0,4]}})", 4,
       "\"F31\" is not supported"},
      {R"({"a":{"dtype":3,"shape":[],"data_offsets":[0,4]}})", 4, "\"dtype\""},
      {R"({"a":{"shape":[],"data_offsets":[0,4]}})", 4, "\"dtype\""},
      {R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,4],"x":1}})", 4,
       "unknown key"},
      {R"({"__metadata__":{"a":1}})", 0, "must be a string"},
      {R"({"__metadata__":"x"})", 0, "object of strings"},
      {R"({"__metadata__":{"a":"1","a":"2"}})", 0, "stands twice"},
  };
  for (const Case& c : cases) {
    EXPECT_THAT(
        ParseFile(RawSafetensors(c.header, std::string(c.data_bytes, '\0')),
                  AdapterLimits()),
        StatusIs(kInvalid, HasSubstr(c.message)))
        << c.header;
  }
}

TEST(SafetensorsTest, TooManyTensorsAreRefused) {
  SafetensorsLimits limits = AdapterLimits();
  limits.max_tensors = 1;
  EXPECT_THAT(ParseFile(ZeroSafetensors({{"a", {1}}}), limits), IsOk());
  EXPECT_THAT(
      ParseFile(ZeroSafetensors({{"a", {1}}, {"b", {1}}, {"c", {1}}}), limits),
      StatusIs(kInvalid, HasSubstr("at most 1")));
}

TEST(SafetensorsTest, EmptyTensorsMayShareAPlace) {
  const auto header = ParseFile(
      ZeroSafetensors({{"a", {0, 3}}, {"b", {2}}, {"c", {0}}, {"d", {0}}}),
      AdapterLimits());
  ASSERT_THAT(header, IsOk());
  EXPECT_EQ(header->tensors.back().name, "d");
  EXPECT_EQ(header->tensors.back().num_elements(), 0);
}

TEST(SafetensorsTest, EveryDtypeHasItsNameBack) {
  for (int i = 0; i <= static_cast<int>(Dtype::kBool); ++i) {
    const Dtype dtype = static_cast<Dtype>(i);
    EXPECT_EQ(DtypeFromName(DtypeName(dtype)), dtype);
  }
  EXPECT_EQ(DtypeBytes(Dtype::kBF16), 2);
  EXPECT_EQ(DtypeName(Dtype::kBF16), "BF16");
  EXPECT_EQ(DtypeBytes(Dtype::kF64), 8);
  EXPECT_EQ(DtypeBytes(Dtype::kBool), 1);
}

TEST(SafetensorsTest, JudgesHostileFilesAsTheReferenceDoes) {
  const auto dir = MaterialDir() / "hostile" / "safetensors";
  STOCKPOT_SKIP_WITHOUT(dir);
  const auto expected = ParseJson(ReadAll(dir / "EXPECTED.json"), {});
  ASSERT_THAT(expected, IsOk());
  EXPECT_EQ(expected->size(), 8);
  for (const auto& item : *expected) {
    const std::string name = item["file"];
    const auto header = ParseFile(ReadAll(dir / name), ModelLimits());
    if (item["expected"] == "valid") {
      EXPECT_THAT(header, IsOk()) << name;
    } else {
      EXPECT_THAT(header, StatusIs(kInvalid, _)) << name;
    }
  }
}

TEST(SafetensorsTest, NoCutOrFlippedByteOfARealHeaderBreaksTheParser) {
  const std::string good = ZeroSafetensors(
      {{"base_model.model.q.lora_A.weight", {2, 3}}, {"b", {1}, "BF16", 2}});
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_THAT(ParseFile(good.substr(0, size), AdapterLimits()),
                StatusIs(kInvalid, _));
  }
  for (size_t at = 0; at < good.size() - 26; ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ (1 << bit));
      const auto header = ParseFile(bad, AdapterLimits());
      // A changed letter of a name is fine; a changed table must still cover
      // the data.
      if (header.ok() && !header->tensors.empty()) {
        EXPECT_EQ(header->tensors.back().end + header->data_offset, bad.size());
      }
    }
  }
}

TEST(SafetensorsTest, ReadsRealAdaptersAndModels) {
  const auto dir = MaterialDir();
  STOCKPOT_SKIP_WITHOUT(dir / "adapters");
  for (const char* name :
       {"adapters/gpt2/a", "adapters/gpt2/b", "adapters/t5-small/a",
        "adapters/gemma-3-270m/zero-b"}) {
    const auto header = ParseFile(
        ReadAll(dir / name / "adapter_model.safetensors"), AdapterLimits());
    ASSERT_THAT(header, IsOk()) << name;
    EXPECT_EQ(header->tensors.size(), 72) << name;
  }
  EXPECT_THAT(
      ParseFile(ReadAll(dir / "hostile/lfs_pointer/adapter_model.safetensors"),
                AdapterLimits()),
      StatusIs(kInvalid, HasSubstr("git lfs pull")));
}

}  // namespace
}  // namespace stockpot
