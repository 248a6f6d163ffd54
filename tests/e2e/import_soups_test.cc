// A LoRA-Soups checkpoint through the command line into the whole daemon: what
// is served equals the authors' forward pass (tests/golden/model/soups.json).

#include <cmath>
#include <sstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "client/command_line.h"
#include "tests/client/soups_checkpoint.h"
#include "tests/e2e/tiny_daemon.h"

namespace stockpot {
namespace {

constexpr float kTolerance = 1e-4f;
constexpr uint32_t kTop = 20;

TEST(ImportSoupsTest, TheImportedRecipeServesTheAuthorsForwardPass) {
  const nlohmann::ordered_json golden = testing::SoupsGolden();
  const testing::TinyDaemon daemon(testing::SoupsBase(golden));
  std::vector<std::string> args = {"--address", daemon.address(), "recipe",
                                   "import-soups", "mix"};
  for (const std::string& path :
       testing::WriteSoups(golden, daemon.path(), daemon.modules())) {
    args.push_back(path);
  }
  std::istringstream in;
  std::ostringstream out;
  std::ostringstream err;
  Terminal terminal{.in = in, .out = out, .err = err};
  Interrupt interrupt;
  ASSERT_EQ(RunCommandLine(args, terminal, interrupt), kExitOk) << err.str();

  const std::vector<float> expected =
      testing::ReadFloats(STOCKPOT_SOURCE_DIR
                          "/tests/golden/model/soups.safetensors")
          .at(golden.at("logprobs"));
  v1::GenerateRequest request;
  request.set_saved_recipe("mix");
  const auto next = testing::LikeliestNext(daemon.channel(), request,
                                           golden.at("tokens"), kTop);
  EXPECT_EQ(next.size(), kTop);
  for (const auto& [id, logprob] : next) {
    EXPECT_NEAR(logprob, expected.at(id), kTolerance) << "token " << id;
  }
}

}  // namespace
}  // namespace stockpot
