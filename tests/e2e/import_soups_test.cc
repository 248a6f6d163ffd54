// A LoRA-Soups checkpoint through the command line into the whole daemon: what
// is served equals the authors' forward pass (tests/golden/model/soups.json).

#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include <grpcpp/grpcpp.h>

#include "proto/stockpot/v1/generation.grpc.pb.h"

#include "client/command_line.h"
#include "formats/model_config.h"
#include "model/modules.h"
#include "server/daemon.h"
#include "tests/client/soups_checkpoint.h"
#include "tests/testing/temp_dir.h"

namespace stockpot {
namespace {

constexpr float kTolerance = 1e-4f;

// Log-probabilities of the token after the prompt, of the 20 likeliest.
std::map<uint32_t, float> Next(const std::string& address,
                               const std::string& saved_recipe,
                               const nlohmann::ordered_json& tokens) {
  v1::GenerateRequest request;
  request.set_saved_recipe(saved_recipe);
  for (const auto& token : tokens) {
    request.mutable_prompt()->mutable_token_ids()->add_ids(token);
  }
  request.mutable_limits()->set_max_new_tokens(1);
  request.mutable_limits()->set_ignore_eos(true);
  request.mutable_output()->set_top_logprobs(20);
  auto stub = v1::GenerationService::NewStub(
      grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  auto stream = stub->Generate(&context, request);
  std::map<uint32_t, float> next;
  v1::GenerateResponse response;
  while (stream->Read(&response)) {
    for (const v1::Token& token : response.delta().tokens()) {
      for (const v1::TokenLogprob& top : token.top()) {
        next[top.id()] = top.logprob();
      }
    }
  }
  const grpc::Status status = stream->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  return next;
}

TEST(ImportSoupsTest, TheImportedRecipeServesTheAuthorsForwardPass) {
  const testing::TempDir dir;
  const nlohmann::ordered_json golden = testing::SoupsGolden();
  const std::string model = dir.path() + "/model";
  testing::WriteTinyModel(model, testing::SoupsBase(golden));
  for (const char* file : {"tokenizer.json", "tokenizer_config.json"}) {
    std::filesystem::copy_file(
        absl::StrCat(STOCKPOT_SOURCE_DIR, "/tests/golden/tokenizer/gpt2/",
                     file),
        model + "/" + file);
  }
  DaemonOptions options;
  options.model = model;
  options.registry = dir.path() + "/registry";
  options.listen = "127.0.0.1:0";
  options.metrics_listen = "127.0.0.1:0";
  options.dtype = "float32";
  options.kv_cache_bytes = int64_t{4} << 20;
  auto daemon = Daemon::Start(options);
  ASSERT_TRUE(daemon.ok()) << daemon.status();
  ASSERT_TRUE((*daemon)->Load().ok());
  const std::string address = absl::StrCat("127.0.0.1:", (*daemon)->port());

  std::vector<std::string> args = {"--address", address, "recipe",
                                   "import-soups", "mix"};
  for (const std::string& path : testing::WriteSoups(
           golden, dir.path(),
           ModulesOf(*ModelConfig::Parse(golden.at("config").dump(), "")))) {
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
  const auto next = Next(address, "mix", golden.at("tokens"));
  EXPECT_EQ(next.size(), 20U);
  for (const auto& [id, logprob] : next) {
    EXPECT_NEAR(logprob, expected.at(id), kTolerance) << "token " << id;
  }
}

}  // namespace
}  // namespace stockpot
