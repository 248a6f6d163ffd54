// recipe import-soups.

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "formats/model_config.h"
#include "model/modules.h"
#include "tests/client/fake_stockpotd.h"
#include "tests/client/soups_checkpoint.h"
#include "tests/testing/temp_dir.h"

namespace stockpot::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

class SoupsCommandTest : public ::testing::Test {
 protected:
  SoupsCommandTest()
      : golden_(SoupsGolden()),
        directories_(WriteSoups(
            golden_, dir_.path(),
            ModulesOf(*ModelConfig::Parse(golden_.at("config").dump(), "")))) {}

  CommandResult Run(std::vector<std::string> args) {
    args.insert(args.begin(), {"recipe", "import-soups"});
    return RunStockpot(daemon_, std::move(args));
  }

  TempDir dir_;
  FakeStockpotd daemon_;
  const nlohmann::ordered_json golden_;
  const std::vector<std::string> directories_;
};

TEST_F(SoupsCommandTest, TheRecipeHoldsTheSharesOfTheAuthorsSoftmax) {
  const CommandResult result =
      Run({"mix", directories_[0], directories_[1], directories_[2], "--label",
           "from=soups", "--description", "three", "--alias", "prod"});
  ASSERT_EQ(result.code, kExitOk) << result.err;
  EXPECT_THAT(result.err, HasSubstr("as mix-adapter_1@1"));
  EXPECT_EQ(daemon_.registry.adapters.size(), 3U);
  ASSERT_EQ(daemon_.registry.saves.size(), 1U);
  const v1::SaveRecipeRequest& request = daemon_.registry.saves[0];
  EXPECT_EQ(request.name(), "mix");
  EXPECT_EQ(request.description(), "three");
  EXPECT_THAT(request.labels(), ElementsAre(Pair("from", "soups")));
  EXPECT_EQ(daemon_.registry.set_aliases.at(0).alias(), "prod");
  EXPECT_TRUE(request.recipe().has_cat());
  ASSERT_EQ(request.recipe().skills_size(), 3);
  const nlohmann::ordered_json& shares = golden_.at("shares");
  for (int i = 0; i < 3; ++i) {
    const v1::Skill& skill = request.recipe().skills(i);
    EXPECT_EQ(skill.adapter(), absl::StrCat("mix-adapter_", i, "@1"));
    EXPECT_EQ(skill.weight(), 1);
    ASSERT_EQ(static_cast<size_t>(skill.module_weights_size()), shares.size());
    for (const v1::ModuleWeight& weight : skill.module_weights()) {
      EXPECT_NEAR(weight.weight(),
                  shares.at(weight.modules()).at(i).get<double>(), 1e-6)
          << weight.modules();
    }
  }
}

TEST_F(SoupsCommandTest, NothingIsSentOfACheckpointThatIsNotOne) {
  EXPECT_EQ(Run({"mix", directories_[0]}).code, kExitUsage);
  const CommandResult absent = Run({"mix", directories_[0], dir_.path()});
  EXPECT_EQ(absent.code, kExitNotFound);
  EXPECT_THAT(absent.err, HasSubstr("adapter_model.safetensors"));

  // An adapter that PEFT alone trained.
  const std::string plain = dir_.path() + "/plain";
  std::filesystem::create_directory(plain);
  WriteFile(plain + "/adapter_config.json", "{}");
  WriteFile(plain + "/adapter_model.safetensors",
            SafetensorsFile({{"base_model.model.q.lora_A.weight",
                              Dtype::kF32,
                              {1, 1},
                              EncodeFloats({1}, Dtype::kF32)}}));
  const CommandResult alone = Run({"mix", directories_[0], plain});
  EXPECT_EQ(alone.code, kExitInvalidArgument);
  EXPECT_THAT(alone.err,
              AllOf(HasSubstr("plain"), HasSubstr("lora_learnable_weights")));

  // Of one module fewer than the others.
  WriteFile(plain + "/adapter_model.safetensors",
            SafetensorsFile({{"base_model.model.model.layers.0.self_attn.q_proj"
                              ".lora_learnable_weights",
                              Dtype::kF32,
                              {1},
                              EncodeFloats({1}, Dtype::kF32)}}));
  const CommandResult fewer = Run({"mix", directories_[0], plain});
  EXPECT_EQ(fewer.code, kExitInvalidArgument);
  EXPECT_THAT(fewer.err,
              AllOf(HasSubstr("1 is " + plain), HasSubstr("adapter 1 has no"),
                    HasSubstr("same modules")));
  EXPECT_THAT(daemon_.registry.upload, IsEmpty());
  EXPECT_THAT(daemon_.registry.saves, IsEmpty());
}

TEST_F(SoupsCommandTest, ADirectoryThatCannotNameAnAdapterIsRefusedFirst) {
  const std::string odd = dir_.path() + "/Adapter One";
  std::filesystem::rename(directories_[1], odd);
  const CommandResult result = Run({"mix", directories_[0], odd});
  EXPECT_EQ(result.code, kExitInvalidArgument);
  EXPECT_THAT(result.err,
              AllOf(HasSubstr("mix-Adapter One"), HasSubstr("rename")));
  EXPECT_THAT(daemon_.registry.upload, IsEmpty());
}

}  // namespace
}  // namespace stockpot::testing
