#include "formats/soups.h"

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"

#include "tests/formats/fixtures.h"
#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::RawSafetensors;
using ::stockpot::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
const char kQ[] = "base_model.model.model.layers.0.self_attn.q_proj";
const char kV[] = "base_model.model.model.layers.0.self_attn.v_proj";

// A file of scalars: {name, dtype, bytes}.
struct Scalar {
  std::string name;
  std::string dtype;
  std::string bytes;
  std::string shape = "[1]";
};
std::string File(const std::vector<Scalar>& scalars) {
  std::string header = "{";
  std::string data;
  for (const Scalar& s : scalars) {
    absl::StrAppend(&header, header.size() > 1 ? "," : "", "\"", s.name,
                    "\":{\"dtype\":\"", s.dtype, "\",\"shape\":", s.shape,
                    ",\"data_offsets\":[", data.size(), ",",
                    data.size() + s.bytes.size(), "]}");
    data += s.bytes;
  }
  return RawSafetensors(header + "}", data);
}
std::string F32(float value) {
  std::string bytes(4, '\0');
  std::memcpy(bytes.data(), &value, 4);
  return bytes;
}
std::string Name(const char* module) {
  return absl::StrCat(module, ".lora_learnable_weights");
}

TEST(SoupsTest, ReadsTheScalarsOfEveryDtypeByModule) {
  const auto logits = ReadSoupsLogits(
      File({{Name(kV), "F32", F32(-1.5f)},
            {absl::StrCat(kQ, ".lora_learnable_weights.default"), "F16",
             std::string("\x00\x42", 2)},  // 3
            {absl::StrCat(kQ, ".lora_A.weight"), "F32", F32(1), "[1,1]"},
            {"base_model.model.lm_head.lora_learnable_weights", "BF16",
             std::string("\x20\xc0", 2)}}));  // -2.5
  ASSERT_THAT(logits, IsOk());
  ASSERT_EQ(logits->size(), 3);
  EXPECT_EQ((*logits)[0].module_path, "lm_head");
  EXPECT_EQ((*logits)[0].value, -2.5);
  EXPECT_EQ((*logits)[1].module_path, "model.layers.0.self_attn.q_proj");
  EXPECT_EQ((*logits)[1].value, 3);
  EXPECT_EQ((*logits)[2].value, -1.5);
}

TEST(SoupsTest, BadScalarsAreRefusedByName) {
  const std::string name = Name(kQ);
  EXPECT_THAT(ReadSoupsLogits(File({{name, "F32", F32(INFINITY)}})),
              StatusIs(kInvalid, HasSubstr(name)));
  EXPECT_THAT(ReadSoupsLogits(File({{name, "I32", F32(1)}})),
              StatusIs(kInvalid, AllOf(HasSubstr(name), HasSubstr("I32"))));
  EXPECT_THAT(ReadSoupsLogits(File({{name, "F32", F32(1) + F32(2), "[2]"}})),
              StatusIs(kInvalid, AllOf(HasSubstr(name), HasSubstr("[2]"))));
  EXPECT_THAT(
      ReadSoupsLogits(File({{name, "F32", F32(1)},
                            {absl::StrCat(name, ".default"), "F32", F32(1)}})),
      StatusIs(kInvalid, HasSubstr("two lora_learnable_weights")));
  EXPECT_THAT(ReadSoupsLogits(File({{absl::StrCat(kQ, ".lora_A.weight"), "F32",
                                     F32(1), "[1,1]"}})),
              StatusIs(kInvalid, HasSubstr("holds no lora_learnable_weights")));
  EXPECT_THAT(ReadSoupsLogits("x"), StatusIs(kInvalid, HasSubstr("")));
}

TEST(SoupsTest, SharesAreTheSoftmaxAcrossAdaptersOfEachModule) {
  const auto mix = MixSoups(std::vector<std::vector<SoupsLogit>>{
      {{"k", 0}, {"q", 1000}}, {{"k", std::log(3)}, {"q", 1000}}});
  ASSERT_THAT(mix, IsOk());
  ASSERT_EQ(mix->size(), 2);
  EXPECT_EQ((*mix)[0].module_path, "k");
  EXPECT_NEAR((*mix)[0].weights[0], 0.25, 1e-12);
  EXPECT_NEAR((*mix)[0].weights[1], 0.75, 1e-12);
  // No overflow.
  EXPECT_NEAR((*mix)[1].weights[0], 0.5, 1e-12);
}

TEST(SoupsTest, AModuleThatOnlySomeAdaptIsNamed) {
  const std::vector<SoupsLogit> both = {{"k", 0}, {"q", 0}};
  const std::vector<SoupsLogit> one = {{"q", 0}};
  EXPECT_THAT(MixSoups(std::vector{both, both, one}),
              StatusIs(kInvalid, AllOf(HasSubstr("adapter 2 has no"),
                                       HasSubstr("\"k\""))));
  EXPECT_THAT(MixSoups(std::vector{one, both}),
              StatusIs(kInvalid, AllOf(HasSubstr("adapter 0 has no"),
                                       HasSubstr("\"k\""))));
  EXPECT_THAT(MixSoups(std::vector<std::vector<SoupsLogit>>{both}),
              StatusIs(kInvalid, HasSubstr("two or more")));
}

}  // namespace
}  // namespace stockpot
