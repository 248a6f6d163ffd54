#include "model/base_model.h"

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/testing/model_driver.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"
#include "tests/testing/tiny_model.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::MaxDifference;
using ::stockpot::testing::ModelDriver;
using ::stockpot::testing::RawTensor;
using ::stockpot::testing::SafetensorsFile;
using ::stockpot::testing::StatusIs;
using ::stockpot::testing::TempDir;
using ::stockpot::testing::TinyGpt2;
using ::stockpot::testing::TinyLlama;
using ::stockpot::testing::TinyModelSpec;
using ::stockpot::testing::TinyModelTensors;
using ::stockpot::testing::TinyTensorBytes;
using ::stockpot::testing::WriteFile;
using ::stockpot::testing::WriteTinyModel;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::vector<RawTensor> Tensors(const TinyModelSpec& spec) {
  std::vector<RawTensor> tensors;
  for (const auto& t : TinyModelTensors(spec.config)) {
    tensors.push_back({t.name, spec.dtype, t.shape,
                       TinyTensorBytes(t, spec.seed, spec.dtype)});
  }
  return tensors;
}

RawTensor& Find(std::vector<RawTensor>& tensors, const std::string& name) {
  for (RawTensor& t : tensors) {
    if (t.name == name) return t;
  }
  ADD_FAILURE() << name;
  return tensors[0];
}

class BaseModelTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<BaseModel>> Load(
      const TinyModelSpec& spec, const std::vector<RawTensor>& tensors) {
    WriteTinyModel(dir_.path(), spec);
    WriteFile(dir_.path() + "/model.safetensors", SafetensorsFile(tensors));
    return BaseModel::Load(dir_.path(), {.dtype = at::kFloat});
  }
  absl::StatusOr<std::unique_ptr<BaseModel>> Load(const TinyModelSpec& spec) {
    return Load(spec, Tensors(spec));
  }

  TempDir dir_;
};

std::vector<int32_t> Tokens(int count, int vocab) {
  std::vector<int32_t> tokens;
  for (int i = 0; i < count; ++i) {
    tokens.push_back((i * i * 7 + 3 * i + 1) % vocab);
  }
  return tokens;
}

TEST_F(BaseModelTest, EveryMissingTensorIsNamed) {
  for (const TinyModelSpec& spec : {TinyLlama(), TinyGpt2()}) {
    const std::vector<RawTensor> all = Tensors(spec);
    for (size_t i = 0; i < all.size(); ++i) {
      std::vector<RawTensor> fewer = all;
      fewer.erase(fewer.begin() + static_cast<int64_t>(i));
      EXPECT_THAT(
          Load(spec, fewer),
          StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(all[i].name)));
    }
  }
}

TEST_F(BaseModelTest, EveryWrongShapeIsNamedWithBothShapes) {
  for (const TinyModelSpec& spec : {TinyLlama(), TinyGpt2()}) {
    const std::vector<RawTensor> all = Tensors(spec);
    for (size_t i = 0; i < all.size(); ++i) {
      std::vector<RawTensor> wrong = all;
      ++wrong[i].shape[0];
      wrong[i].bytes.resize(wrong[i].bytes.size() / all[i].shape[0] *
                            wrong[i].shape[0]);
      EXPECT_THAT(Load(spec, wrong),
                  StatusIs(absl::StatusCode::kInvalidArgument,
                           AllOf(HasSubstr(all[i].name),
                                 HasSubstr(ShapeString(all[i].shape)),
                                 HasSubstr(ShapeString(wrong[i].shape)))));
    }
  }
}

TEST_F(BaseModelTest, TransposedSquareOfOtherRankIsRefused) {
  const TinyModelSpec spec = TinyLlama();
  std::vector<RawTensor> tensors = Tensors(spec);
  RawTensor& norm = Find(tensors, "model.norm.weight");
  norm.shape = {48, 1};
  EXPECT_THAT(Load(spec, tensors), StatusIs(absl::StatusCode::kInvalidArgument,
                                            HasSubstr("model.norm.weight")));
}

TEST_F(BaseModelTest, WeightsOfAnotherTypeAreNamed) {
  const TinyModelSpec spec = TinyLlama();
  std::vector<RawTensor> tensors = Tensors(spec);
  Find(tensors, "model.layers.1.mlp.up_proj.weight").dtype = Dtype::kI32;
  EXPECT_THAT(Load(spec, tensors),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("model.layers.1.mlp.up_proj.weight"),
                             HasSubstr("I32"))));
}

TEST_F(BaseModelTest, AnotherArchitectureIsRefusedByName) {
  TinyModelSpec spec = TinyLlama();
  spec.config["architectures"] = {"MambaForCausalLM"};
  WriteTinyModel(dir_.path(), spec);
  EXPECT_THAT(BaseModel::Load(dir_.path(), {.dtype = at::kFloat}),
              StatusIs(absl::StatusCode::kUnimplemented,
                       AllOf(HasSubstr("MambaForCausalLM"),
                             HasSubstr("LlamaForCausalLM"))));
}

TEST_F(BaseModelTest, AnEmptyDirectoryIsNotFound) {
  EXPECT_THAT(BaseModel::Load(dir_.path(), {}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("config.json")));
  EXPECT_THAT(BaseModel::Load(dir_.path() + "/nowhere", {}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("config.json")));
}

TEST_F(BaseModelTest, TruncatedWeightsAreRefused) {
  const TinyModelSpec spec = TinyLlama();
  WriteTinyModel(dir_.path(), spec);
  const std::string file = SafetensorsFile(Tensors(spec));
  for (const size_t size :
       {size_t{0}, size_t{7}, size_t{100}, file.size() / 2, file.size() - 1}) {
    WriteFile(dir_.path() + "/model.safetensors", file.substr(0, size));
    EXPECT_THAT(
        BaseModel::Load(dir_.path(), {.dtype = at::kFloat}),
        StatusIs(absl::StatusCode::kInvalidArgument, ::testing::Not("")))
        << size;
  }
}

// As OpenAI's own GPT-2 checkpoints were saved, and some Llamas.
TEST_F(BaseModelTest, NamesWithoutThePrefixAreUnderstood) {
  for (const auto& [spec, prefix] :
       {std::pair{TinyLlama(), std::string("model.")},
        std::pair{TinyGpt2(), std::string("transformer.")}}) {
    const auto with = Load(spec);
    ASSERT_THAT(with, IsOk());
    std::vector<RawTensor> tensors = Tensors(spec);
    for (RawTensor& t : tensors) {
      if (t.name.rfind(prefix, 0) == 0) t.name = t.name.substr(prefix.size());
    }
    TempDir other;
    WriteTinyModel(other.path(), spec);
    WriteFile(other.path() + "/model.safetensors", SafetensorsFile(tensors));
    const auto without = BaseModel::Load(other.path(), {.dtype = at::kFloat});
    ASSERT_THAT(without, IsOk());
    ModelDriver a(with->get()), b(without->get());
    EXPECT_EQ(*a.Run(Tokens(20, 100), 20), *b.Run(Tokens(20, 100), 20));
  }
}

TEST_F(BaseModelTest, TensorsThatNobodyNeedsAreIgnored) {
  const TinyModelSpec spec = TinyGpt2();
  std::vector<RawTensor> tensors = Tensors(spec);
  // Buffers that old checkpoints carry.
  tensors.push_back({"transformer.h.0.attn.bias",
                     Dtype::kU8,
                     {1, 1, 2, 2},
                     std::string(4, '\1')});
  EXPECT_THAT(Load(spec, tensors), IsOk());
}

TEST_F(BaseModelTest, DigestFollowsWeightsAndConfiguration) {
  const TinyModelSpec spec = TinyLlama();
  const Digest digest = (*Load(spec))->digest();
  EXPECT_EQ((*Load(spec))->digest(), digest);

  TinyModelSpec other_seed = spec;
  other_seed.seed = 2;
  EXPECT_NE((*Load(other_seed))->digest(), digest);

  TinyModelSpec other_config = spec;
  other_config.config["rope_theta"] = 20000.0;
  EXPECT_NE((*Load(other_config))->digest(), digest);

  std::vector<RawTensor> one_bit = Tensors(spec);
  one_bit.back().bytes.back() ^= 1;
  EXPECT_NE((*Load(spec, one_bit))->digest(), digest);
}

TEST_F(BaseModelTest, ModulesAreThoseThatAnAdapterMayChange) {
  const auto llama = Load(TinyLlama());
  ASSERT_THAT(llama, IsOk());
  const std::vector<BaseModule>& modules = (*llama)->modules();
  ASSERT_EQ(modules.size(), 2 * 7 + 2);
  EXPECT_EQ(modules[8].path, "model.layers.1.self_attn.k_proj");
  EXPECT_EQ(modules[8].in, 48);
  EXPECT_EQ(modules[8].out, 24);
  EXPECT_EQ(modules.back().path, "lm_head");
  EXPECT_TRUE(modules.back().is_output_head);
  EXPECT_EQ(modules.back().out, 131);
  EXPECT_FALSE(modules[0].is_output_head);
  const BaseModule& embedding = modules[EmbeddingIndex(modules.size())];
  EXPECT_EQ(embedding.path, "model.embed_tokens");
  EXPECT_TRUE(embedding.is_embedding);
  EXPECT_EQ(embedding.vocabulary(), 131);
  EXPECT_EQ(embedding.hidden(), 48);
  EXPECT_EQ(modules.back().vocabulary(), 131);

  const auto gpt2 = Load(TinyGpt2());
  ASSERT_THAT(gpt2, IsOk());
  EXPECT_EQ((*gpt2)->modules().size(), 2 * 4 + 2);
  EXPECT_EQ((*gpt2)->modules()[0].path, "transformer.h.0.attn.c_attn");
  EXPECT_EQ((*gpt2)->modules()[0].out, 3 * 48);
}

// Thirty blocks in shuffled order, other sequences' blocks between them.
TEST_F(BaseModelTest, LongContextDoesNotDependOnChunksOrBlocks) {
  const auto model = Load(TinyLlama());
  ASSERT_THAT(model, IsOk());
  const std::vector<int32_t> tokens = Tokens(470, 131);
  ModelDriver in_order(model->get(), 64, /*seed=*/0);
  const auto whole = in_order.Run(tokens, 470);
  ASSERT_THAT(whole, IsOk());
  for (const int64_t chunk : {1, 13, 64, 255}) {
    ModelDriver shuffled(model->get(), 64, /*seed=*/99);
    ASSERT_THAT(shuffled.Run(Tokens(37, 131), 5), IsOk());
    const auto rows = shuffled.Run(tokens, chunk);
    ASSERT_THAT(rows, IsOk());
    EXPECT_LE(MaxDifference(rows->back(), whole->back()), 1e-4f) << chunk;
  }
}

TEST_F(BaseModelTest, StepThatWantsNoLogitsGivesNoRows) {
  for (const TinyModelSpec& spec : {TinyLlama(), TinyGpt2()}) {
    const auto model = Load(spec);
    ASSERT_THAT(model, IsOk());
    ModelDriver driver(model->get());
    const int sequence = driver.NewSequence();
    const auto rows = driver.Step({ModelDriver::Feed{
        .sequence = sequence, .tokens = {1, 2, 3}, .wants_logits = false}});
    ASSERT_THAT(rows, IsOk());
    EXPECT_TRUE(rows->empty());
  }
}

TEST_F(BaseModelTest, WeightBytesCountEveryWeightOnce) {
  const TinyModelSpec spec = TinyLlama();
  int64_t bytes = 0;
  for (const RawTensor& t : Tensors(spec)) {
    bytes += static_cast<int64_t>(t.bytes.size());
  }
  const auto model = Load(spec);
  ASSERT_THAT(model, IsOk());
  // The embedding stays in the file; norms are small change.
  const int64_t embedding = 131 * 48 * 4;
  EXPECT_NEAR((*model)->weight_bytes(), bytes - embedding, 8 * 48 * 4);
}

}  // namespace
}  // namespace stockpot
