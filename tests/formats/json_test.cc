#include "formats/json.h"

#include <filesystem>
#include <string>

#include "absl/strings/match.h"
#include "gmock/gmock.h"

#include "tests/formats/fixtures.h"
#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::IsOkAndHolds;
using ::stockpot::testing::MaterialDir;
using ::stockpot::testing::ReadAll;
using ::stockpot::testing::StatusIs;
using ::testing::_;
using ::testing::AllOf;
using ::testing::Eq;
using ::testing::HasSubstr;
using ::testing::Optional;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

TEST(ParseJsonTest, ReadsADocument) {
  auto json = ParseJson(R"({"a": [1, 2.5, "x", null, true]})", {});
  ASSERT_THAT(json, IsOk());
  EXPECT_EQ((*json)["a"].size(), 5);
  EXPECT_EQ((*json)["a"][2], "x");
}

TEST(ParseJsonTest, DuplicateKeyIsRefusedByNameAtAnyLevel) {
  EXPECT_THAT(ParseJson(R"({"dup": 1, "dup": 1})", {}),
              StatusIs(kInvalid, HasSubstr("\"dup\"")));
  EXPECT_THAT(ParseJson(R"([{"a": {"in": 1, "b": 2, "in": 1}}])", {}),
              StatusIs(kInvalid, HasSubstr("\"in\"")));
  // Written differently, the same key.
  EXPECT_THAT(ParseJson(R"({"ab": 1, "\u0061b": 1})", {}),
              StatusIs(kInvalid, HasSubstr("\"ab\"")));
}

TEST(ParseJsonTest, OneKeyInTwoObjectsIsNoDuplicate) {
  EXPECT_THAT(ParseJson(R"({"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]})", {}),
              IsOk());
}

TEST(ParseJsonTest, LastDuplicateWinsWhereAllowed) {
  const JsonLimits limits = {.allow_duplicate_keys = true};
  auto json = ParseJson(R"({"a": 1, "b": 2, "a": [3]})", limits);
  ASSERT_THAT(json, IsOk());
  EXPECT_EQ((*json)["a"], nlohmann::json::array({3}));
  auto ordered = ParseOrderedJson(R"({"a": 1, "b": 2, "a": [3]})", limits);
  ASSERT_THAT(ordered, IsOk());
  EXPECT_EQ(ordered->dump(), R"({"a":[3],"b":2})");
}

TEST(ParseJsonTest, DepthIsBounded) {
  const JsonLimits limits = {.max_depth = 3};
  EXPECT_THAT(ParseJson("[[[]]]", limits), IsOk());
  EXPECT_THAT(ParseJson("[[[[]]]]", limits),
              StatusIs(kInvalid, HasSubstr("deeper than 3")));
  EXPECT_THAT(ParseJson(std::string(1000000, '['), {}), StatusIs(kInvalid, _));
}

TEST(ParseJsonTest, SizeIsBounded) {
  EXPECT_THAT(ParseJson("[1]", {.max_bytes = 2}),
              StatusIs(kInvalid, HasSubstr("at most 2")));
}

TEST(ParseJsonTest, WhatReadersDisagreeAboutIsRefused) {
  const std::string nul("{}\0garbage", 10);
  for (const std::string& text :
       {std::string("{} {}"), std::string("{}x"), nul, std::string(1, '\0'),
        std::string("\xEF\xBB\xBF{}"), std::string("[NaN]"),
        std::string("[Infinity]"), std::string("[1e999]"),
        std::string("{} // c"), std::string("[1,]"), std::string("['a']"),
        std::string("[\"\xFF\"]"), std::string("[\"\\ud800\"]"),
        std::string("[01]"), std::string("")}) {
    EXPECT_THAT(ParseJson(text, {}), StatusIs(kInvalid, _)) << text;
  }
}

TEST(ParseJsonTest, OrderedDocumentKeepsTheFilesOrder) {
  auto json = ParseOrderedJson(R"({"z": 1, "a": {"y": 2, "b": 3}})", {});
  ASSERT_THAT(json, IsOk());
  EXPECT_EQ(json->dump(), R"({"z":1,"a":{"y":2,"b":3}})");
}

TEST(ParseJsonTest, AgreesWithTheJsonTestSuite) {
  const auto dir = MaterialDir() / "hostile" / "json_test_suite";
  STOCKPOT_SKIP_WITHOUT(dir);
  int num_accepted = 0;
  int num_refused = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    const std::string name = entry.path().filename();
    const auto json = ParseJson(ReadAll(entry.path()), {});
    if (absl::StartsWith(name, "n_")) {
      EXPECT_THAT(json, StatusIs(kInvalid, _)) << name;
      ++num_refused;
    } else if (absl::StartsWith(name, "y_") &&
               absl::StrContains(name, "duplicated_key")) {
      EXPECT_THAT(json, StatusIs(kInvalid, HasSubstr("twice"))) << name;
    } else if (absl::StartsWith(name, "y_")) {
      EXPECT_THAT(json, IsOk()) << name;
      ++num_accepted;
    }
  }
  EXPECT_GT(num_accepted, 80);
  EXPECT_GT(num_refused, 150);
}

TEST(JsonGetterTest, IntegerIsReadWithinBoundsOnly) {
  const auto json = nlohmann::json::parse(
      R"({"n": 8, "f": 8.0, "s": "8", "neg": -1,
          "big": 18446744073709551615, "nil": null})");
  EXPECT_THAT(GetInt(json, "n", 0, 8), IsOkAndHolds(8));
  EXPECT_THAT(GetInt(json, "n", 0, 7),
              StatusIs(kInvalid,
                       AllOf(HasSubstr("\"n\""), HasSubstr("[0, 7], got 8"))));
  EXPECT_THAT(GetInt(json, "f", 0, 8), StatusIs(kInvalid, HasSubstr("\"f\"")));
  EXPECT_THAT(GetInt(json, "s", 0, 8),
              StatusIs(kInvalid, HasSubstr("an integer, got string")));
  EXPECT_THAT(GetInt(json, "neg", 0, 8), StatusIs(kInvalid, _));
  EXPECT_THAT(GetInt(json, "big", INT64_MIN, INT64_MAX), StatusIs(kInvalid, _));
  EXPECT_THAT(GetInt(json, "nil", 0, 8),
              StatusIs(kInvalid, HasSubstr("is missing")));
  EXPECT_THAT(GetInt(json, "gone", 0, 8, "outer.inner"),
              StatusIs(kInvalid, HasSubstr("\"outer.inner.gone\"")));
  EXPECT_THAT(GetIntOr(json, "nil", 3, 0, 8), IsOkAndHolds(3));
  EXPECT_THAT(GetIntOr(json, "s", 3, 0, 8), StatusIs(kInvalid, _));
  EXPECT_THAT(GetOptionalInt(json, "gone", 0, 8), IsOkAndHolds(std::nullopt));
}

TEST(JsonGetterTest, OtherTypesAreChecked) {
  const auto json =
      nlohmann::ordered_json::parse(R"({"d": 1, "b": false, "s": "x"})");
  EXPECT_THAT(GetDouble(json, "d", 0, 2), IsOkAndHolds(1.0));
  EXPECT_THAT(GetDouble(json, "b", 0, 2), StatusIs(kInvalid, _));
  EXPECT_THAT(GetDoubleOr(json, "d", 0, 0, 0.5), StatusIs(kInvalid, _));
  EXPECT_THAT(GetBool(json, "b"), IsOkAndHolds(false));
  EXPECT_THAT(GetBool(json, "d"), StatusIs(kInvalid, _));
  EXPECT_THAT(GetString(json, "s"), IsOkAndHolds("x"));
  EXPECT_THAT(GetString(json, "d"), StatusIs(kInvalid, _));
  EXPECT_THAT(GetOptionalString(json, "s"), IsOkAndHolds(Optional(Eq("x"))));
  EXPECT_THAT(GetBool(nlohmann::json::array(), "b"),
              StatusIs(kInvalid, HasSubstr("must be a JSON object")));
}

}  // namespace
}  // namespace stockpot
