// Our logits against those of transformers (tests/golden/make_model_goldens.py)
// on tiny models of every supported shape.

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "model/base_model.h"
#include "tests/testing/model_driver.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"
#include "tests/testing/test_device.h"
#include "tests/testing/tiny_model.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::MaxDifference;
using ::stockpot::testing::ModelDriver;
using ::stockpot::testing::ReadFloats;
using ::stockpot::testing::ReadJson;
using ::stockpot::testing::TempDir;
using ::stockpot::testing::TestDevice;
using ::stockpot::testing::TinyModelSpec;
using ::stockpot::testing::WriteTinyModel;
using ::testing::Ge;

constexpr float kTolerance = 1e-4f;
const char kGoldens[] = STOCKPOT_SOURCE_DIR "/tests/golden/model/models";

struct GoldenSequence {
  std::vector<int32_t> tokens;
  std::vector<int32_t> positions;          // Whose logits are stored.
  std::vector<std::vector<float>> logits;  // [positions][vocab]

  // Null if position `i` is not stored.
  const std::vector<float>* At(int32_t i) const {
    for (size_t k = 0; k < positions.size(); ++k) {
      if (positions[k] == i) return &logits[k];
    }
    return nullptr;
  }
};

struct GoldenModel {
  std::string name;
  TinyModelSpec spec;
  std::vector<GoldenSequence> sequences;
};

std::vector<GoldenModel> ReadGoldens() {
  const auto tensors = ReadFloats(std::string(kGoldens) + ".safetensors");
  std::vector<GoldenModel> models;
  const auto document = ReadJson(std::string(kGoldens) + ".json");
  for (const auto& m : document.at("models")) {
    GoldenModel model;
    model.name = m.at("name");
    model.spec.config = m.at("config");
    model.spec.seed = m.at("seed");
    model.spec.dtype = *DtypeFromName(m.at("dtype").get<std::string>());
    const size_t vocab = m.at("config").at("vocab_size");
    for (const auto& s : m.at("sequences")) {
      GoldenSequence sequence;
      sequence.tokens = s.at("tokens").get<std::vector<int32_t>>();
      sequence.positions = s.at("positions").get<std::vector<int32_t>>();
      const std::vector<float>& all = tensors.at(s.at("logits"));
      for (size_t i = 0; i < sequence.positions.size(); ++i) {
        sequence.logits.emplace_back(all.begin() + i * vocab,
                                     all.begin() + (i + 1) * vocab);
      }
      model.sequences.push_back(std::move(sequence));
    }
    models.push_back(std::move(model));
  }
  return models;
}

class ModelGoldenTest : public ::testing::TestWithParam<GoldenModel> {
 protected:
  void SetUp() override { SKIP_WITHOUT_TEST_DEVICE(); }

  std::unique_ptr<BaseModel> Load(at::ScalarType dtype = at::kFloat) {
    WriteTinyModel(dir_.path(), GetParam().spec);
    auto model =
        BaseModel::Load(dir_.path(), {.dtype = dtype, .device = TestDevice()});
    EXPECT_THAT(model, IsOk());
    return model.ok() ? *std::move(model) : nullptr;
  }

  // Runs every sequence in chunks and compares the logits at their ends.
  void ExpectLogits(int64_t chunk) {
    const std::unique_ptr<BaseModel> model = Load();
    ASSERT_NE(model, nullptr);
    ModelDriver driver(model.get());
    for (const GoldenSequence& golden : GetParam().sequences) {
      const auto rows = driver.Run(golden.tokens, chunk);
      ASSERT_THAT(rows, IsOk());
      int compared = 0;
      for (size_t i = 0; i < rows->size(); ++i) {
        const auto end =
            std::min<int64_t>((i + 1) * chunk, golden.tokens.size());
        if (const auto* expected = golden.At(static_cast<int32_t>(end) - 1)) {
          EXPECT_LE(MaxDifference((*rows)[i], *expected), kTolerance)
              << "position " << end - 1 << " of " << golden.tokens.size();
          ++compared;
        }
      }
      EXPECT_GT(compared, 0);
    }
  }

  TempDir dir_;
};

TEST_P(ModelGoldenTest, PrefillInOneStep) { ExpectLogits(1 << 20); }

TEST_P(ModelGoldenTest, PrefillInChunksOfSeven) { ExpectLogits(7); }

// Past the length from which attention takes the blocked path, over a context
// that is longer than the chunk.
TEST_P(ModelGoldenTest, PrefillInChunksOfTwenty) { ExpectLogits(20); }

TEST_P(ModelGoldenTest, TokenByToken) { ExpectLogits(1); }

TEST_P(ModelGoldenTest, SequencesAtDifferentPositionsInOneBatch) {
  const std::unique_ptr<BaseModel> model = Load();
  ASSERT_NE(model, nullptr);
  ModelDriver driver(model.get());
  const auto& goldens = GetParam().sequences;
  // Each joins two steps after the one before and goes on at its own pace, so
  // that most steps mix prefill and decode.
  const std::vector<size_t> pace = {1, 5, 3, 17};
  std::vector<int> ids(goldens.size(), -1);
  std::vector<size_t> done(goldens.size(), 0);
  int mixed_steps = 0;
  for (size_t step = 0;; ++step) {
    std::vector<ModelDriver::Feed> feeds;
    std::vector<size_t> who;
    for (size_t s = 0; s < goldens.size(); ++s) {
      const std::vector<int32_t>& tokens = goldens[s].tokens;
      if (step < 2 * s || done[s] == tokens.size()) continue;
      if (ids[s] < 0) ids[s] = driver.NewSequence();
      const size_t n = std::min(pace[s], tokens.size() - done[s]);
      const auto first = tokens.begin() + static_cast<int64_t>(done[s]);
      done[s] += n;
      feeds.push_back({.sequence = ids[s],
                       .tokens = {first, first + static_cast<int64_t>(n)},
                       .wants_logits = step % 5 != 3});
      if (feeds.back().wants_logits) who.push_back(s);
    }
    if (feeds.empty()) break;
    mixed_steps += feeds.size() > 1 ? 1 : 0;
    const auto rows = driver.Step(feeds);
    ASSERT_THAT(rows, IsOk());
    ASSERT_EQ(rows->size(), who.size());
    for (size_t i = 0; i < who.size(); ++i) {
      const size_t s = who[i];
      const auto* expected = goldens[s].At(static_cast<int32_t>(done[s]) - 1);
      if (expected != nullptr) {
        EXPECT_LE(MaxDifference((*rows)[i], *expected), kTolerance)
            << "sequence " << s << " position " << done[s] - 1;
      }
    }
  }
  EXPECT_THAT(mixed_steps, Ge(3));
}

// bfloat16 keeps 8 bits of each weight and activation: with logits that spread
// over some units the result may be off by a few tenths, and not by more.
TEST_P(ModelGoldenTest, Bfloat16IsWithinAFewTenths) {
  const std::unique_ptr<BaseModel> model = Load(at::kBFloat16);
  ASSERT_NE(model, nullptr);
  for (const int64_t chunk : {1, 7, 1 << 20}) {
    ModelDriver driver(model.get());
    const GoldenSequence& golden = GetParam().sequences[0];
    const auto rows = driver.Run(golden.tokens, chunk);
    ASSERT_THAT(rows, IsOk());
    double sum = 0;
    int64_t count = 0;
    for (size_t i = 0; i < rows->size(); ++i) {
      const auto end = std::min<int64_t>((i + 1) * chunk, golden.tokens.size());
      const auto* expected = golden.At(static_cast<int32_t>(end) - 1);
      ASSERT_NE(expected, nullptr);
      EXPECT_LE(MaxDifference((*rows)[i], *expected), 0.25f);
      for (size_t k = 0; k < expected->size(); ++k) {
        sum += std::abs((*rows)[i][k] - (*expected)[k]);
        ++count;
      }
    }
    EXPECT_LE(sum / static_cast<double>(count), 0.03) << "chunk " << chunk;
  }
}

TEST_P(ModelGoldenTest, ShardsGiveTheSameModel) {
  const std::unique_ptr<BaseModel> whole = Load();
  ASSERT_NE(whole, nullptr);
  TempDir dir;
  TinyModelSpec spec = GetParam().spec;
  spec.num_shards = 3;
  WriteTinyModel(dir.path(), spec);
  const auto shards = BaseModel::Load(
      dir.path(), {.dtype = at::kFloat, .device = TestDevice()});
  ASSERT_THAT(shards, IsOk());
  EXPECT_EQ(whole->digest(), (*shards)->digest());
  ModelDriver a(whole.get());
  ModelDriver b(shards->get());
  const std::vector<int32_t>& tokens = GetParam().sequences[0].tokens;
  EXPECT_EQ(*a.Run(tokens, 64), *b.Run(tokens, 64));
}

INSTANTIATE_TEST_SUITE_P(All, ModelGoldenTest,
                         ::testing::ValuesIn(ReadGoldens()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace stockpot
