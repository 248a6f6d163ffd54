// Recipes of every method, exported by the whole daemon: what it serves, and
// what it serves of its own export, equals what PEFT made of that export
// (tests/golden/model/exports.json, which says how the tolerances came about).

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include <google/protobuf/util/json_util.h>
#include <grpcpp/grpcpp.h>

#include "proto/stockpot/v1/registry.grpc.pb.h"

#include "tests/e2e/tiny_daemon.h"
#include "tests/testing/tiny_adapter.h"
#include "tests/testing/tiny_model.h"

namespace stockpot {
namespace {

using nlohmann::ordered_json;
using testing::TinyAdapter;
using testing::TinyDaemon;

const char kGolden[] = STOCKPOT_SOURCE_DIR "/tests/golden/model/exports";
constexpr double kFloat32Tolerance = 1e-4;
constexpr uint32_t kTop = 20;

struct Case {
  int base = 0;  // In the golden file.
  const char* dtype = "";
  const char* name = "";
};

class ExportTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const ordered_json document =
        testing::ReadJson(absl::StrCat(kGolden, ".json"));
    golden_ = document.at("bases").at(GetParam().base);
    logprobs_ = testing::ReadFloats(absl::StrCat(kGolden, ".safetensors"));
    daemon_ = std::make_unique<TinyDaemon>(
        testing::TinyModelSpec{.config = golden_.at("config"),
                               .seed = golden_.at("seed")},
        GetParam().dtype);
    RegisterAll();
  }

  void RegisterAll() {
    for (const ordered_json& adapter : golden_.at("adapters")) {
      Register(
          adapter.at("name"),
          testing::MakeTinyAdapter(
              {.config = adapter.at("config"),
               .seed = adapter.at("seed"),
               .dtype = *DtypeFromName(adapter.at("dtype").get<std::string>())},
              daemon_->modules()));
    }
  }

  void Register(const std::string& name, const TinyAdapter& adapter) {
    testing::RegisterOver(daemon_->channel(), name, adapter);
  }

  TinyAdapter Export(const v1::Recipe& recipe) {
    auto stub = v1::RegistryService::NewStub(daemon_->channel());
    grpc::ClientContext context;
    v1::ExportRecipeRequest request;
    *request.mutable_recipe() = recipe;
    auto stream = stub->ExportRecipe(&context, request);
    TinyAdapter adapter;
    v1::DownloadAdapterResponse response;
    while (stream->Read(&response)) {
      if (response.has_metadata()) {
        adapter.config = response.metadata().adapter_config();
      }
      adapter.safetensors += response.chunk();
    }
    const grpc::Status status = stream->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    return adapter;
  }

  void ExpectPefts(const v1::Recipe& recipe, const ordered_json& golden,
                   const std::string& what) {
    const ordered_json& keys = golden.at("logprobs").at(GetParam().dtype);
    for (size_t i = 0; i < keys.size(); ++i) {
      const std::vector<float>& peft = logprobs_.at(keys[i]);
      v1::GenerateRequest request;
      *request.mutable_recipe() = recipe;
      const auto next = testing::LikeliestNext(
          daemon_->channel(), request, golden_.at("prompts").at(i), kTop);
      EXPECT_EQ(next.size(), kTop) << what;
      for (const auto& [id, logprob] : next) {
        EXPECT_NEAR(logprob, peft.at(id), Tolerance())
            << what << ", prompt " << i << ", token " << id;
      }
    }
  }

  double Tolerance() const {
    return std::string(GetParam().dtype) == "float32"
               ? kFloat32Tolerance
               : 2 * golden_.at("bfloat16_error").get<double>();
  }

  ordered_json golden_;
  std::map<std::string, std::vector<float>> logprobs_;
  std::unique_ptr<TinyDaemon> daemon_;
};

TEST_P(ExportTest, PeftReadsWhatIsServed) {
  ASSERT_EQ(golden_.at("recipes").size(), 16U);
  for (const ordered_json& golden : golden_.at("recipes")) {
    const std::string name = golden.at("name");
    v1::Recipe recipe;
    ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(
                    golden.at("recipe").dump(), &recipe)
                    .ok());
    ExpectPefts(recipe, golden, name);
    const TinyAdapter exported = Export(recipe);
    ordered_json config = ordered_json::parse(exported.config);
    ordered_json expected = golden.at("exported_config");
    // The name that the model's directory had.
    config.erase("base_model_name_or_path");
    expected.erase("base_model_name_or_path");
    EXPECT_EQ(config, expected) << name;
    Register("exported", exported);
    v1::Recipe alone;
    alone.add_skills()->set_adapter("exported");
    ExpectPefts(alone, golden, name + " as exported");
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, ExportTest,
    ::testing::Values(Case{0, "float32", "llama_float32"},
                      Case{0, "bfloat16", "llama_bfloat16"},
                      Case{1, "float32", "gpt2_float32"},
                      Case{1, "bfloat16", "gpt2_bfloat16"}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace stockpot
