#include "merge/adapter_validator.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/sha256.h"
#include "formats/model_config.h"
#include "model/modules.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/tiny_adapter.h"
#include "tests/testing/tiny_model.h"

namespace stockpot {
namespace {

using ::stockpot::testing::EncodeFloats;
using ::stockpot::testing::IsOk;
using ::stockpot::testing::LoraConfig;
using ::stockpot::testing::MakeTinyAdapter;
using ::stockpot::testing::RawTensor;
using ::stockpot::testing::SafetensorsFile;
using ::stockpot::testing::StatusIs;
using ::stockpot::testing::TinyAdapterSpec;
using ::stockpot::testing::TinyAdapterTensors;
using ::stockpot::testing::TinyGpt2;
using ::stockpot::testing::TinyLlama;
using ::testing::_;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class AdapterValidatorTest : public ::testing::Test {
 protected:
  // Feeds `file` in pieces of `piece` bytes; the first error wins. Declares
  // `declared` bytes if given.
  absl::StatusOr<AdapterFacts> Validate(const std::string& config,
                                        const std::string& file,
                                        size_t piece = 1 << 20,
                                        int64_t declared = -1) {
    const uint64_t file_bytes =
        declared < 0 ? file.size() : static_cast<uint64_t>(declared);
    auto validator = AdapterValidator::Create(config, file_bytes, modules_);
    if (!validator.ok()) return validator.status();
    for (size_t at = 0; at < file.size(); at += piece) {
      const absl::Status status =
          (*validator)->Feed(absl::string_view(file).substr(at, piece));
      if (!status.ok()) return status;
    }
    return (*validator)->Finish(Sha256::Of("base"));
  }
  absl::StatusOr<AdapterFacts> Validate(const std::vector<RawTensor>& tensors,
                                        size_t piece = 1 << 20) {
    return Validate(spec_.config.dump(), SafetensorsFile(tensors), piece);
  }
  std::vector<RawTensor> Tensors() const {
    return TinyAdapterTensors(spec_, modules_);
  }

  std::vector<BaseModule> modules_ =
      ModulesOf(*ModelConfig::Parse(TinyLlama().config.dump(), ""));
  TinyAdapterSpec spec_ = {.config = LoraConfig(4, 8, {"q_proj", "v_proj"})};
};

auto IsInvalid(const std::string& part) {
  return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(part));
}
auto IsUnbuilt(const std::string& part) {
  return StatusIs(absl::StatusCode::kUnimplemented, HasSubstr(part));
}

TEST_F(AdapterValidatorTest, AcceptsAGoodAdapterInPiecesOfAnySize) {
  const std::string file = SafetensorsFile(Tensors());
  for (const size_t piece : {size_t{1}, size_t{7}, size_t{4096}, file.size()}) {
    const auto facts = Validate(spec_.config.dump(), file, piece);
    ASSERT_THAT(facts, IsOk()) << piece;
    // Two layers, (48 + 48) and (48 + 24) values a rank.
    EXPECT_EQ(facts->num_parameters, 2 * 4 * (48 + 48 + 48 + 24));
    EXPECT_EQ(facts->peft_type, "LORA");
    EXPECT_EQ(facts->min_rank, 4);
    EXPECT_EQ(facts->max_rank, 4);
    EXPECT_THAT(facts->target_modules, ElementsAre("q_proj", "v_proj"));
    EXPECT_EQ(facts->base_model, "tiny");
    EXPECT_EQ(facts->base_model_digest, Sha256::Of("base"));
  }
}

TEST_F(AdapterValidatorTest, AcceptsEveryDtypeRankPatternAndRsLora) {
  for (const Dtype dtype : {Dtype::kF32, Dtype::kF16, Dtype::kBF16}) {
    spec_.dtype = dtype;
    spec_.config["use_rslora"] = true;
    spec_.config["rank_pattern"] = {{"v_proj", 7}};
    const auto facts = Validate(Tensors(), 7);
    ASSERT_THAT(facts, IsOk());
    EXPECT_EQ(facts->min_rank, 4);
    EXPECT_EQ(facts->max_rank, 7);
  }
}

TEST_F(AdapterValidatorTest, AcceptsGpt2) {
  modules_ = ModulesOf(*ModelConfig::Parse(TinyGpt2().config.dump(), ""));
  spec_.config = LoraConfig(3, 6, {"c_attn", "mlp.c_proj"});
  spec_.config["fan_in_fan_out"] = true;
  EXPECT_THAT(Validate(Tensors()), IsOk());
}

TEST_F(AdapterValidatorTest, ValuesThatAreNotFiniteAreNamed) {
  const std::vector<RawTensor> good = Tensors();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(),
                          std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    for (const size_t tensor : {size_t{0}, good.size() - 1}) {
      std::vector<RawTensor> tensors = good;
      const std::string bytes = EncodeFloats({bad}, Dtype::kF32);
      // The last element, so that nothing after it can hide the error.
      tensors[tensor].bytes.replace(tensors[tensor].bytes.size() - 4, 4, bytes);
      for (const size_t piece : {1, 7, 1 << 20}) {
        EXPECT_THAT(Validate(tensors, piece), IsInvalid(good[tensor].name));
      }
    }
  }
}

TEST_F(AdapterValidatorTest, EveryTruncationIsAnError) {
  const std::string config = spec_.config.dump();
  const std::string file = SafetensorsFile(Tensors());
  for (const size_t size :
       {size_t{0}, size_t{1}, size_t{7}, size_t{8}, size_t{9}, size_t{300},
        file.size() / 2, file.size() - 1}) {
    // The client declared the whole file and stopped, or a shorter file.
    EXPECT_THAT(Validate(config, file.substr(0, size), 64,
                         static_cast<int64_t>(file.size())),
                StatusIs(absl::StatusCode::kInvalidArgument, _))
        << size;
    EXPECT_THAT(Validate(config, file.substr(0, size)),
                StatusIs(absl::StatusCode::kInvalidArgument, _))
        << size;
  }
}

TEST_F(AdapterValidatorTest, MoreBytesThanTensorsAreAnError) {
  const std::string file = SafetensorsFile(Tensors()) + "x";
  for (const size_t piece : {size_t{1}, file.size()}) {
    EXPECT_THAT(Validate(spec_.config.dump(), file, piece),
                StatusIs(absl::StatusCode::kInvalidArgument, _));
    // Also if the declared size does not tell.
    EXPECT_THAT(Validate(spec_.config.dump(), file, piece,
                         static_cast<int64_t>(file.size()) - 1),
                StatusIs(absl::StatusCode::kInvalidArgument, _));
  }
}

TEST_F(AdapterValidatorTest, AHugeHeaderIsRefusedAfterEightBytes) {
  for (const uint64_t size : {uint64_t{100} << 20, ~uint64_t{0},
                              uint64_t{1} << 63, (uint64_t{1} << 20) + 1}) {
    std::string prefix(8, '\0');
    std::memcpy(prefix.data(), &size, 8);
    auto validator = AdapterValidator::Create(spec_.config.dump(),
                                              uint64_t{1} << 40, modules_);
    ASSERT_THAT(validator, IsOk());
    EXPECT_THAT((*validator)->Feed(prefix), IsInvalid("header")) << size;
  }
}

TEST_F(AdapterValidatorTest, FilesOfAnotherKindAreToldApart) {
  const std::string pickle = std::string("PK\3\4") + std::string(200, 'x');
  EXPECT_THAT(Validate(spec_.config.dump(), pickle), IsInvalid("safetensors"));
  const std::string pointer =
      "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
  EXPECT_THAT(Validate(spec_.config.dump(), pointer), IsInvalid("lfs"));
}

TEST_F(AdapterValidatorTest, AModuleThatTheBaseLacksIsNamed) {
  std::vector<RawTensor> tensors = Tensors();
  tensors[0].name =
      "base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight";
  EXPECT_THAT(Validate(tensors), IsInvalid("layers.7.self_attn.q_proj"));
  modules_ = ModulesOf(*ModelConfig::Parse(TinyGpt2().config.dump(), ""));
  TinyAdapterSpec llama = spec_;
  const auto llama_modules =
      ModulesOf(*ModelConfig::Parse(TinyLlama().config.dump(), ""));
  EXPECT_THAT(Validate(TinyAdapterTensors(llama, llama_modules)),
              IsInvalid("q_proj"));
}

TEST_F(AdapterValidatorTest, AMissingHalfOfAPairIsNamed) {
  const std::vector<RawTensor> good = Tensors();
  for (size_t i = 0; i < 2; ++i) {
    std::vector<RawTensor> tensors = good;
    tensors.erase(tensors.begin() + static_cast<int64_t>(i));
    EXPECT_THAT(Validate(tensors),
                IsInvalid("model.layers.0.self_attn.q_proj"));
  }
}

TEST_F(AdapterValidatorTest, ATargetWithoutTensorsIsNamed) {
  std::vector<RawTensor> tensors = Tensors();
  tensors.resize(tensors.size() - 2);
  EXPECT_THAT(Validate(tensors), IsInvalid("model.layers.1.self_attn.v_proj"));
}

TEST_F(AdapterValidatorTest, WrongSizesAreNamed) {
  std::vector<RawTensor> tensors = Tensors();
  tensors[0].shape = {4, 47};
  tensors[0].bytes.resize(4 * 47 * 4);
  EXPECT_THAT(Validate(tensors),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr(tensors[0].name), HasSubstr("47"),
                             HasSubstr("48"))));
  tensors = Tensors();
  spec_.config["r"] = 5;  // The tensors say 4.
  EXPECT_THAT(Validate(tensors), IsInvalid("q_proj"));
}

TEST_F(AdapterValidatorTest, OtherDtypesAreNamed) {
  std::vector<RawTensor> tensors = Tensors();
  tensors[1].dtype = Dtype::kI32;
  EXPECT_THAT(Validate(tensors), IsInvalid(tensors[1].name));
}

TEST_F(AdapterValidatorTest, AnAdapterWithoutTensorsIsAnError) {
  EXPECT_THAT(Validate(std::vector<RawTensor>{}),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
}

TEST_F(AdapterValidatorTest, OptionsThatChangeTheMathematicsAreRefusedByName) {
  const std::string file = SafetensorsFile(Tensors());
  const auto with = [&](const std::string& key, nlohmann::ordered_json value) {
    nlohmann::ordered_json config = spec_.config;
    config[key] = std::move(value);
    return Validate(config.dump(), file);
  };
  EXPECT_THAT(with("peft_type", "OFT"), IsUnbuilt("OFT"));
  // Served, and then the file must hold what they need.
  EXPECT_THAT(with("use_dora", true), IsInvalid("lora_magnitude_vector"));
  EXPECT_THAT(with("lora_bias", true), IsInvalid("lora_B.bias is missing"));
  EXPECT_THAT(with("modules_to_save", {"lm_head"}),
              IsInvalid("\"base_model.model.lm_head.weight\""));
  EXPECT_THAT(with("trainable_token_indices", {1}),
              IsInvalid("trainable_tokens_delta"));
  EXPECT_THAT(with("modules_to_save", {"model.norm"}),
              IsUnbuilt("modules_to_save"));
  EXPECT_THAT(with("init_lora_weights", "pissa"),
              IsUnbuilt("init_lora_weights"));
  EXPECT_THAT(with("alora_invocation_tokens", {1, 2}),
              IsUnbuilt("alora_invocation_tokens"));
  EXPECT_THAT(with("r", 0), IsInvalid("r"));
  EXPECT_THAT(with("r", 1'000'000), IsInvalid("r"));
  EXPECT_THAT(with("lora_alpha", 1e30), IsInvalid("lora_alpha"));
}

TEST_F(AdapterValidatorTest, TensorsOfOtherMethodsAreRefusedByName) {
  std::vector<RawTensor> tensors = Tensors();
  tensors.push_back(
      {"base_model.model.model.layers.0.self_attn.q_proj."
       "lora_magnitude_vector",
       Dtype::kF32,
       {48},
       std::string(192, '\0')});
  EXPECT_THAT(Validate(tensors), IsInvalid("lora_magnitude_vector"));
  tensors.back().name = "base_model.model.model.embed_tokens.lora_embedding_A";
  EXPECT_THAT(Validate(tensors), IsInvalid("\"model.embed_tokens\""));
}

// A LoHa of rank 30 over a layer of 600: 900 ranks, of which 512 are served.
class LossyValidatorTest : public ::testing::Test {
 protected:
  LossyValidatorTest() {
    for (const char* part : {"w1", "w2"}) {
      for (const auto& [half, shape] :
           {std::pair{"_a", std::vector<int64_t>{600, 30}},
            std::pair{"_b", std::vector<int64_t>{30, 600}}}) {
        const std::string name =
            absl::StrCat("base_model.model.proj.hada_", part, half);
        tensors_.push_back({name, Dtype::kF16, shape,
                            ::stockpot::testing::TinyTensorBytes(
                                {name, shape}, 1, Dtype::kF16)});
      }
    }
  }

  absl::StatusOr<AdapterFacts> Validate(ConversionMeasure measure) {
    const std::string file = SafetensorsFile(tensors_);
    auto validator = AdapterValidator::Create(
        R"({"peft_type":"LOHA","r":30,"alpha":1,"target_modules":["proj"]})",
        file.size(), modules_, std::move(measure));
    if (!validator.ok()) return validator.status();
    for (size_t at = 0; at < file.size(); at += 1000) {
      const absl::Status status =
          (*validator)->Feed(absl::string_view(file).substr(at, 1000));
      if (!status.ok()) return status;
    }
    return (*validator)->Finish(Sha256::Of("base"));
  }

  std::vector<BaseModule> modules_ = {{"proj", 600, 600}};
  std::vector<RawTensor> tensors_;
};

TEST_F(LossyValidatorTest, TheConversionIsMeasuredOnTheWholeData) {
  std::string data;
  for (const RawTensor& tensor : tensors_) data += tensor.bytes;
  const auto facts =
      Validate([&](const AdapterConfig& config, const SafetensorsHeader& header,
                   const AdapterLayout& layout, absl::string_view seen) {
        EXPECT_EQ(config.kind(), AdapterKind::kLoha);
        EXPECT_EQ(header.tensors.size(), 4);
        EXPECT_FALSE(layout.modules[0].is_exact);
        EXPECT_EQ(seen, data);
        return absl::StatusOr<double>(0.97);
      });
  ASSERT_THAT(facts, IsOk());
  EXPECT_EQ(facts->kept_energy, 0.97);
  EXPECT_EQ(facts->peft_type, "LOHA");
  EXPECT_EQ(facts->max_rank, 512);
}

TEST_F(LossyValidatorTest, AConversionThatFailsRefusesTheUpload) {
  EXPECT_THAT(Validate([](auto&&...) -> absl::StatusOr<double> {
                return absl::UnimplementedError("keeps only 3 %");
              }),
              IsUnbuilt("keeps only 3 %"));
}

TEST_F(AdapterValidatorTest, AnExactAdapterIsNotMeasured) {
  const std::string file = SafetensorsFile(Tensors());
  auto validator =
      AdapterValidator::Create(spec_.config.dump(), file.size(), modules_,
                               [](auto&&...) -> absl::StatusOr<double> {
                                 ADD_FAILURE();
                                 return 0;
                               });
  ASSERT_THAT(validator, IsOk());
  ASSERT_THAT((*validator)->Feed(file), IsOk());
  const auto facts = (*validator)->Finish(Sha256::Of("base"));
  ASSERT_THAT(facts, IsOk());
  EXPECT_EQ(facts->kept_energy, 1);
}

TEST_F(AdapterValidatorTest, ABrokenConfigIsRefusedBeforeAnyByte) {
  for (const char* config :
       {"", "{", "[]", "{\"peft_type\": 3}", "{\"a\":1}"}) {
    EXPECT_THAT(AdapterValidator::Create(config, 100, modules_),
                StatusIs(absl::StatusCode::kInvalidArgument, _))
        << config;
  }
}

}  // namespace
}  // namespace stockpot
