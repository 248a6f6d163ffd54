// Published models against what their makers published of them.

#include "tests/testing/material.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "formats/tokenizer/tokenizer.h"
#include "model/base_model.h"
#include "model/sampler.h"
#include "tests/testing/model_driver.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/tiny_model.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::IsOkAndHolds;
using ::stockpot::testing::MaterialPath;
using ::stockpot::testing::ModelDriver;
using ::stockpot::testing::ReadJson;

class MaterialTest : public ::testing::Test {
 protected:
  // Skips the test if the model is absent.
  void LoadModel(const std::string& name) {
    dir_ = MaterialPath("weights/" + name);
    if (dir_.empty()) {
      GTEST_SKIP() << "weights/" << name
                   << " is not in the test material ($STOCKPOT_MATERIAL)";
    }
    auto model = BaseModel::Load(dir_, {.dtype = at::kFloat});
    ASSERT_THAT(model, IsOk());
    model_ = *std::move(model);
    goldens_ = ReadJson(dir_ + "/goldens.json");
  }

  // Prompt and greedy continuation, `total` tokens in all.
  std::vector<int32_t> Greedy(std::vector<int32_t> ids, size_t total) {
    ModelDriver driver(model_.get());
    const int sequence = driver.NewSequence();
    Sampler sampler({}, ids);
    std::vector<int32_t> next = ids;
    while (ids.size() < total) {
      auto rows = driver.Step({ModelDriver::Feed{sequence, next}});
      EXPECT_THAT(rows, IsOk());
      ids.push_back(sampler.Sample(absl::MakeSpan((*rows)[0]), -1)->id);
      next = {ids.back()};
    }
    return ids;
  }

  std::string dir_;
  std::unique_ptr<BaseModel> model_;
  nlohmann::ordered_json goldens_;
};

TEST_F(MaterialTest, Stories260KTellsTheModelCardsStory) {
  ASSERT_NO_FATAL_FAILURE(LoadModel("stories260K"));
  if (IsSkipped()) return;
  const auto tokenizer = Tokenizer::Load(dir_);
  ASSERT_THAT(tokenizer, IsOk());
  for (const auto& story : goldens_.at("greedy")) {
    const auto prompt = (*tokenizer)->Encode(story.at("prompt"), {});
    EXPECT_THAT(
        prompt,
        IsOkAndHolds(story.at("prompt_ids").get<std::vector<int32_t>>()));
    const auto expected = story.at("output_ids").get<std::vector<int32_t>>();
    const auto ids = Greedy(*prompt, expected.size());
    EXPECT_EQ(ids, expected);
    EXPECT_THAT((*tokenizer)->Decode(ids, /*skip_special=*/true),
                IsOkAndHolds(story.at("text").get<std::string>()));
  }
}

TEST_F(MaterialTest, Stories260KHasTheLogitsOfADoublePrecisionRun) {
  ASSERT_NO_FATAL_FAILURE(LoadModel("stories260K"));
  if (IsSkipped()) return;
  ModelDriver driver(model_.get());
  const auto ids =
      goldens_.at("greedy")[0].at("output_ids").get<std::vector<int32_t>>();
  const auto rows = driver.Run(absl::MakeConstSpan(ids).subspan(0, 10), 1);
  ASSERT_THAT(rows, IsOk());
  for (const auto& golden : goldens_.at("logits_ours")) {
    const std::vector<float>& row = (*rows)[golden.at("pos").get<size_t>()];
    const auto first = golden.at("first8").get<std::vector<float>>();
    for (size_t i = 0; i < first.size(); ++i) {
      EXPECT_NEAR(row[i], first[i], 1e-4);
    }
  }
}

TEST_F(MaterialTest, TinyRandomGpt2HasThePublishedLogitsAndGreedyIds) {
  ASSERT_NO_FATAL_FAILURE(LoadModel("tiny-random-gpt2"));
  if (IsSkipped()) return;
  const auto inputs =
      goldens_.at("inputs").get<std::vector<std::vector<int32_t>>>();
  const auto greedy =
      goldens_.at("greedy_expected").get<std::vector<std::vector<int32_t>>>();
  const auto& prompt = goldens_.at("prompt_logits_every_200");
  const auto prompt_logits = prompt.at("values").get<std::vector<float>>();
  const auto later = goldens_.at("logits_after_first_generated_token_every_200")
                         .at("values")
                         .get<std::vector<float>>();
  const auto indices = prompt.at("indices").get<std::vector<size_t>>();
  const float tolerance = prompt.at("tolerance");
  for (size_t b = 0; b < inputs.size(); ++b) {
    EXPECT_EQ(Greedy(inputs[b], greedy[b].size()), greedy[b]);
    ModelDriver driver(model_.get());
    const size_t length = inputs[b].size();
    const auto rows =
        driver.Run(absl::MakeConstSpan(greedy[b]).subspan(0, length + 1), 1);
    ASSERT_THAT(rows, IsOk());
    for (size_t k = 0; k < indices.size(); ++k) {
      for (size_t i = 0; i < length; ++i) {
        EXPECT_NEAR((*rows)[i][indices[k]],
                    prompt_logits[(b * length + i) * indices.size() + k],
                    tolerance);
      }
      EXPECT_NEAR((*rows)[length][indices[k]], later[b * indices.size() + k],
                  tolerance);
    }
  }
}

}  // namespace
}  // namespace stockpot
