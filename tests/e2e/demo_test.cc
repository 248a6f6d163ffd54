// The whole daemon on the demo's real base model, in float32, over the wire:
// greedy ids and the leading logits equal those of transformers and PEFT in
// demo/golden/smollm2.json (made by demo/make_golden.py, versions inside).
//
// Needs what `make test` prepares (demo/fetch_base.py); skips without it.

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include <grpcpp/grpcpp.h>

#include "proto/grpc/health/v1/health.grpc.pb.h"
#include "proto/stockpot/v1/admin.grpc.pb.h"
#include "proto/stockpot/v1/generation.grpc.pb.h"
#include "proto/stockpot/v1/registry.grpc.pb.h"

#include "base/sha256.h"
#include "server/daemon.h"
#include "tests/testing/temp_dir.h"

namespace stockpot {
namespace {

using nlohmann::json;

const char kModel[] = STOCKPOT_SOURCE_DIR "/demo/.cache/smollm2-135m-instruct";

// Logits reach 30 and go through 30 layers; the golden values have 5 decimals.
constexpr float kTolerance = 2e-3f;

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream bytes;
  bytes << in.rdbuf();
  return bytes.str();
}

class DemoTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (!std::filesystem::exists(std::string(kModel) + "/config.json")) {
      return;
    }
    dir_ = new testing::TempDir;
    DaemonOptions options;
    options.model = kModel;
    options.registry = dir_->path() + "/registry";
    options.listen = "127.0.0.1:0";
    options.metrics_listen = "127.0.0.1:0";
    options.dtype = "float32";
    options.kv_cache_bytes = int64_t{128} << 20;
    auto daemon = Daemon::Start(options);
    ASSERT_TRUE(daemon.ok()) << daemon.status();
    daemon_ = daemon->release();
    channel_ = new std::shared_ptr<grpc::Channel>(
        grpc::CreateChannel(absl::StrCat("127.0.0.1:", daemon_->port()),
                            grpc::InsecureChannelCredentials()));
    EXPECT_EQ(Health(""), grpc::health::v1::HealthCheckResponse::NOT_SERVING);
    const absl::Status loaded = daemon_->Load();
    ASSERT_TRUE(loaded.ok()) << loaded;
    for (const char* skill : {"facts", "json"}) {
      Register(skill);
    }
  }
  static void TearDownTestSuite() {
    delete channel_;
    delete daemon_;
    delete dir_;
  }
  void SetUp() override {
    if (daemon_ == nullptr) {
      GTEST_SKIP() << "no base model in demo/.cache; run `make demo-base`";
    }
  }

  static grpc::health::v1::HealthCheckResponse::ServingStatus Health(
      const std::string& service) {
    auto stub = grpc::health::v1::Health::NewStub(*channel_);
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    grpc::health::v1::HealthCheckResponse response;
    const grpc::Status status = stub->Check(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.status();
  }

  static void Register(const std::string& skill) {
    const std::string dir =
        absl::StrCat(STOCKPOT_SOURCE_DIR, "/demo/skills/", skill);
    const std::string bytes = ReadFile(dir + "/adapter_model.safetensors");
    auto stub = v1::RegistryService::NewStub(*channel_);
    grpc::ClientContext context;
    v1::RegisterAdapterResponse response;
    auto stream = stub->RegisterAdapter(&context, &response);
    v1::RegisterAdapterRequest request;
    v1::AdapterMetadata* metadata = request.mutable_metadata();
    metadata->set_name(skill);
    metadata->set_size_bytes(bytes.size());
    metadata->set_sha256(Sha256::Of(bytes).ToHex());
    metadata->set_adapter_config(ReadFile(dir + "/adapter_config.json"));
    stream->Write(request);
    for (size_t at = 0; at < bytes.size(); at += 1 << 20) {
      request.set_chunk(bytes.substr(at, 1 << 20));
      stream->Write(request);
    }
    stream->WritesDone();
    const grpc::Status status = stream->Finish();
    ASSERT_TRUE(status.ok()) << status.error_message();
  }

  struct Answer {
    grpc::Status status;
    std::string text;
    std::vector<v1::Token> tokens;
    v1::Finish finish;
  };
  static Answer Generate(const v1::GenerateRequest& request) {
    auto stub = v1::GenerationService::NewStub(*channel_);
    grpc::ClientContext context;
    auto stream = stub->Generate(&context, request);
    Answer answer;
    v1::GenerateResponse response;
    while (stream->Read(&response)) {
      answer.text += response.delta().text();
      for (const v1::Token& token : response.delta().tokens()) {
        answer.tokens.push_back(token);
      }
      if (response.has_finish()) answer.finish = response.finish();
    }
    answer.status = stream->Finish();
    return answer;
  }

  static v1::GenerateRequest RequestOf(const json& one, int max_new_tokens,
                                       const json& recipe) {
    v1::GenerateRequest request;
    request.mutable_prompt()->set_text(one["prompt"].get<std::string>());
    request.mutable_prompt()->set_parse_special_tokens(true);
    request.mutable_limits()->set_max_new_tokens(max_new_tokens);
    request.mutable_output()->set_top_logprobs(5);
    for (const auto& [name, weight] : recipe.items()) {
      v1::Skill* skill = request.mutable_recipe()->add_skills();
      skill->set_adapter(name);
      skill->set_weight(weight.get<float>());
    }
    return request;
  }

  static void ExpectLike(const Answer& answer, const json& expected) {
    ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
    std::vector<int32_t> ids;
    for (const v1::Token& token : answer.tokens) {
      ids.push_back(static_cast<int32_t>(token.id()));
    }
    EXPECT_EQ(ids, expected["new_ids"].get<std::vector<int32_t>>());
    EXPECT_EQ(answer.text, expected["text"].get<std::string>());
    EXPECT_EQ(answer.finish.usage().prompt_tokens(),
              expected["input_ids"].size());
    // Differences of log-probabilities are differences of logits.
    const v1::Token& first = answer.tokens.at(0);
    for (int i = 0; i < 5; ++i) {
      EXPECT_EQ(static_cast<int32_t>(first.top(i).id()),
                expected["top5_ids"][i].get<int32_t>());
      EXPECT_NEAR(first.top(i).logprob() - first.top(0).logprob(),
                  expected["top5_logits"][i].get<float>() -
                      expected["top5_logits"][0].get<float>(),
                  kTolerance);
    }
  }

  static json Golden() {
    return json::parse(
        ReadFile(STOCKPOT_SOURCE_DIR "/demo/golden/smollm2.json"));
  }

  static testing::TempDir* dir_;
  static Daemon* daemon_;
  static std::shared_ptr<grpc::Channel>* channel_;
};

testing::TempDir* DemoTest::dir_ = nullptr;
Daemon* DemoTest::daemon_ = nullptr;
std::shared_ptr<grpc::Channel>* DemoTest::channel_ = nullptr;

TEST_F(DemoTest, BaseAndRecipeAnswerLikeTransformersAndPeft) {
  const json golden = Golden();
  const int max_new = golden["num_new_tokens"].get<int>();
  for (const auto& [name, one] : golden["cases"].items()) {
    SCOPED_TRACE(name);
    ExpectLike(Generate(RequestOf(one, max_new, json::object())), one["base"]);
    ExpectLike(Generate(RequestOf(one, max_new, golden["recipe"])),
               one["recipe"]);
  }
}

TEST_F(DemoTest, ZeroWeightsAreTheBaseAndOrderDoesNotMatter) {
  const json golden = Golden();
  const json& one = golden["cases"].begin().value();
  const Answer base = Generate(RequestOf(one, 8, json::object()));
  const Answer zero = Generate(RequestOf(one, 8, {{"facts", 0.0}}));
  EXPECT_EQ(zero.text, base.text);
  EXPECT_EQ(zero.finish.recipe().digest(), base.finish.recipe().digest());

  v1::GenerateRequest swapped = RequestOf(one, 8, golden["recipe"]);
  swapped.mutable_recipe()->mutable_skills()->SwapElements(0, 1);
  EXPECT_EQ(
      Generate(swapped).finish.recipe().digest(),
      Generate(RequestOf(one, 8, golden["recipe"])).finish.recipe().digest());
}

TEST_F(DemoTest, HealthAndInfoSayWhatIsServed) {
  using grpc::health::v1::HealthCheckResponse;
  for (const char* service :
       {"", "stockpot.v1.GenerationService", "stockpot.v1.RegistryService"}) {
    EXPECT_EQ(Health(service), HealthCheckResponse::SERVING) << service;
  }
  auto stub = v1::AdminService::NewStub(*channel_);
  grpc::ClientContext context;
  v1::ServerInfo info;
  ASSERT_TRUE(stub->GetServerInfo(&context, {}, &info).ok());
  EXPECT_EQ(info.architecture(), "LlamaForCausalLM");
  EXPECT_EQ(info.dtype(), "float32");
  EXPECT_EQ(info.context_tokens(), 8192u);
}

// proto3 strings are UTF-8: gRPC refuses others before the service sees them.
TEST_F(DemoTest, PromptThatIsNoUtf8IsRefused) {
  v1::GenerateRequest request;
  request.mutable_prompt()->set_text("abc\xff\xfe");
  const Answer answer = Generate(request);
  EXPECT_FALSE(answer.status.ok());
  EXPECT_EQ(answer.tokens.size(), 0u);
}

}  // namespace
}  // namespace stockpot
