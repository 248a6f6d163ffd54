// The whole daemon on a tiny model: every composition method over the wire, and
// options that are none.

#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <google/protobuf/util/json_util.h>
#include <grpcpp/grpcpp.h>

#include "proto/stockpot/v1/admin.grpc.pb.h"
#include "proto/stockpot/v1/generation.grpc.pb.h"
#include "proto/stockpot/v1/registry.grpc.pb.h"

#include "tests/e2e/tiny_daemon.h"
#include "tests/merge/merged_adapter.h"

namespace stockpot {
namespace {

using ::testing::HasSubstr;
using testing::LoraConfig;
using testing::MergedAdapter;
using testing::MethodsToServe;
using testing::TinyAdapter;
using testing::TinyAdapterSpec;
using testing::TinyDaemon;

constexpr float kTolerance = 1e-4f;

// The options as a client writes them: Protobuf's JSON form.
std::string WireForm(const MergeOptions& options) {
  nlohmann::ordered_json method = nlohmann::ordered_json::object();
  for (const MergeOption& option : CanonicalOptions(options)) {
    const std::string name = option.name;
    if (name == "pico") continue;
    if (name == "space") {
      method[name] = absl::StrCat("SPACE_", absl::AsciiStrToUpper(option.text));
    } else if (name == "sign_election") {
      method[name] =
          absl::StrCat("SIGN_ELECTION_", absl::AsciiStrToUpper(option.text));
    } else if (name == "dialect") {
      method[name] =
          absl::StrCat("MERGE_DIALECT_", absl::AsciiStrToUpper(option.text));
    } else if (name == "rule") {
      method[name] =
          absl::StrCat("INNER_RULE_", absl::AsciiStrToUpper(option.text));
    } else if (name == "elect_signs") {
      method[name] = option.text == "true";
    } else if (option.text != "largest") {
      method[name] = nlohmann::ordered_json::parse(option.text);
    }
  }
  nlohmann::ordered_json recipe = {{MethodName(options.method), method}};
  recipe["pico"] = options.pico;
  return recipe.dump();
}

class MethodsTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    testing::TinyModelSpec spec = testing::TinyLlama();
    spec.config["vocab_size"] = TinyDaemon::kVocabulary;
    daemon_ = new TinyDaemon(spec);
    Register("one", MakeTinyAdapter(One(), daemon_->modules()));
    Register("two", MakeTinyAdapter(Two(), daemon_->modules()));
    Register("wide", MakeTinyAdapter(Wide(), daemon_->modules()));
  }
  static void TearDownTestSuite() {
    delete daemon_;
    daemon_ = nullptr;
  }

  static TinyAdapterSpec One() {
    return {.config = LoraConfig(4, 8, {"q_proj", "down_proj"}), .seed = 1};
  }
  static TinyAdapterSpec Two() {
    return {.config = LoraConfig(4, 8, {"q_proj", "v_proj", "down_proj"}),
            .seed = 2};
  }
  static TinyAdapterSpec Wide() {
    return {.config = LoraConfig(8, 8, {"q_proj"}), .seed = 3};
  }

  // Returns the digest.
  static std::string Register(const std::string& name,
                              const TinyAdapter& adapter) {
    return testing::RegisterOver(daemon_->channel(), name, adapter);
  }

  struct Answer {
    grpc::Status status;
    std::vector<v1::Token> tokens;
    v1::Finish finish;
  };
  static Answer Generate(const v1::Recipe& recipe) {
    v1::GenerateRequest request;
    *request.mutable_recipe() = recipe;
    for (const uint32_t id : {5, 17, 300, 99, 42, 8}) {
      request.mutable_prompt()->mutable_token_ids()->add_ids(id);
    }
    request.mutable_limits()->set_max_new_tokens(6);
    request.mutable_limits()->set_ignore_eos(true);
    request.mutable_output()->set_top_logprobs(5);
    auto stub = v1::GenerationService::NewStub(daemon_->channel());
    grpc::ClientContext context;
    auto stream = stub->Generate(&context, request);
    Answer answer;
    v1::GenerateResponse response;
    while (stream->Read(&response)) {
      for (const v1::Token& token : response.delta().tokens()) {
        answer.tokens.push_back(token);
      }
      if (response.has_finish()) answer.finish = response.finish();
    }
    answer.status = stream->Finish();
    return answer;
  }
  static v1::Recipe RecipeOf(
      const std::vector<std::pair<std::string, float>>& skills) {
    v1::Recipe recipe;
    for (const auto& [name, weight] : skills) {
      v1::Skill* skill = recipe.add_skills();
      skill->set_adapter(name);
      skill->set_weight(weight);
    }
    return recipe;
  }

  static inline TinyDaemon* daemon_ = nullptr;
};

void ExpectSameTokens(const std::vector<v1::Token>& have,
                      const std::vector<v1::Token>& want,
                      const std::string& what) {
  ASSERT_EQ(have.size(), want.size()) << what;
  ASSERT_FALSE(have.empty()) << what;
  for (size_t i = 0; i < have.size(); ++i) {
    EXPECT_EQ(have[i].id(), want[i].id()) << what << " token " << i;
    EXPECT_NEAR(have[i].logprob(), want[i].logprob(), kTolerance) << what;
    ASSERT_EQ(have[i].top_size(), want[i].top_size());
    for (int k = 0; k < have[i].top_size(); ++k) {
      EXPECT_NEAR(have[i].top(k).logprob(), want[i].top(k).logprob(),
                  kTolerance)
          << what;
    }
  }
}

TEST_F(MethodsTest, EveryMethodServesWhatItMergesTo) {
  const Answer base = Generate({});
  // Skills merge in the order of their digests.
  const auto one = MakeTinyAdapter(One(), daemon_->modules());
  const auto two = MakeTinyAdapter(Two(), daemon_->modules());
  std::vector<testing::WeightedAdapter> skills = {{One(), 1}, {Two(), -0.75}};
  if (Register("two", two) < Register("one", one)) {
    std::swap(skills[0], skills[1]);
  }
  int index = 0;
  for (const MergeOptions& options : MethodsToServe()) {
    v1::Recipe recipe;
    ASSERT_TRUE(
        google::protobuf::util::JsonStringToMessage(WireForm(options), &recipe)
            .ok())
        << WireForm(options);
    recipe.MergeFrom(RecipeOf({{"one", 1}, {"two", -0.75f}}));
    const Answer answer = Generate(recipe);
    ASSERT_TRUE(answer.status.ok())
        << MethodText(options) << ": " << answer.status.error_message();
    EXPECT_EQ(answer.finish.recipe().method(), MethodText(options));
    EXPECT_EQ(answer.finish.recipe().skills_size(), 2);
    const std::string merged = absl::StrCat("merged", index++);
    Register(merged, MergedAdapter(skills, options, daemon_->modules()));
    ExpectSameTokens(answer.tokens, Generate(RecipeOf({{merged, 1}})).tokens,
                     MethodText(options));
    EXPECT_GT(std::abs(answer.tokens[0].top(0).logprob() -
                       base.tokens[0].top(0).logprob()) +
                  std::abs(answer.tokens[0].top(4).logprob() -
                           base.tokens[0].top(4).logprob()),
              1e-3)
        << MethodText(options);
  }
}

struct BadRecipe {
  std::function<void(v1::Recipe*)> change;
  grpc::StatusCode code;
  const char* message;
};

TEST_F(MethodsTest, HostileOptionsAreNamedAndNothingIsKept) {
  constexpr auto kInvalid = grpc::StatusCode::INVALID_ARGUMENT;
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<BadRecipe> bad = {
      {[](auto* r) { r->mutable_ties()->set_density(0); }, kInvalid,
       "recipe.ties.density"},
      {[](auto* r) { r->mutable_ties()->set_density(kNan); }, kInvalid,
       "recipe.ties.density"},
      {[](auto* r) { r->mutable_dare()->set_density(-1e30f); }, kInvalid,
       "recipe.dare.density"},
      {[](auto* r) { r->mutable_magnitude_prune()->set_density(2); }, kInvalid,
       "recipe.magnitude_prune.density"},
      {[](auto* r) { r->mutable_ties()->set_rank(0); }, kInvalid,
       "recipe.ties.rank"},
      {[](auto* r) { r->mutable_svd()->set_rank(0); }, kInvalid,
       "recipe.svd.rank"},
      {[](auto* r) { r->mutable_svd()->set_rank(513); }, kInvalid,
       "recipe.svd.rank"},
      {[](auto* r) { r->mutable_tsv()->set_rank(1u << 31); }, kInvalid,
       "recipe.tsv.rank"},
      {[](auto* r) { r->mutable_iso()->set_lambda(kNan); }, kInvalid,
       "recipe.iso.lambda"},
      {[](auto* r) { r->mutable_knots()->set_lambda(0); }, kInvalid,
       "recipe.knots.lambda"},
      {[](auto* r) { r->mutable_della()->set_epsilon(kNan); }, kInvalid,
       "recipe.della.epsilon"},
      {[](auto* r) { r->mutable_breadcrumbs()->set_gamma(1); }, kInvalid,
       "recipe.breadcrumbs.gamma"},
      {[](auto* r) {
         r->mutable_ties()->set_space(static_cast<v1::TiesMethod::Space>(99));
       },
       kInvalid, "recipe.ties.space"},
      {[](auto* r) {
         r->mutable_ties()->set_sign_election(
             static_cast<v1::TiesMethod::SignElection>(-7));
       },
       kInvalid, "recipe.ties.sign_election"},
      {[](auto* r) {
         r->mutable_dare()->set_dialect(static_cast<v1::MergeDialect>(3));
       },
       kInvalid, "recipe.dare.dialect"},
      {[](auto* r) {
         r->mutable_compress_then_merge()->set_rule(
             static_cast<v1::InnerRule>(1 << 30));
       },
       kInvalid, "recipe.compress_then_merge.rule"},
      {[](auto* r) { r->mutable_compress_then_merge()->set_beta(1.5f); },
       kInvalid, "recipe.compress_then_merge.beta"},
      {[](auto* r) { r->mutable_compress_then_merge()->set_beta(kNan); },
       kInvalid, "recipe.compress_then_merge.beta"},
      {[](auto* r) {
         r->mutable_ties()->set_space(v1::TiesMethod::SPACE_FACTORS);
         r->mutable_ties()->set_rank(4);
       },
       kInvalid, "recipe.ties.rank"},
      {[](auto* r) {
         r->mutable_linear();
         r->set_pico(true);
       },
       kInvalid, "recipe.pico"},
      {[](auto* r) {
         r->mutable_linear();
         r->add_skills()->set_adapter("wide");
       },
       grpc::StatusCode::FAILED_PRECONDITION, "q_proj"},
      {[](auto* r) {
         r->mutable_dare()->set_space(v1::TiesMethod::SPACE_FACTORS);
         r->add_skills()->set_adapter("wide");
       },
       grpc::StatusCode::FAILED_PRECONDITION, "equal ranks"},
  };
  for (const BadRecipe& one : bad) {
    v1::Recipe recipe = RecipeOf({{"one", 1}, {"two", 1}});
    one.change(&recipe);
    for (int again = 0; again < 2; ++again) {
      const Answer answer = Generate(recipe);
      EXPECT_EQ(answer.status.error_code(), one.code) << one.message;
      EXPECT_THAT(answer.status.error_message(), HasSubstr(one.message));
    }
  }
  EXPECT_TRUE(Generate(RecipeOf({{"one", 1}})).status.ok());
}

// Two rows of the head that outdo all others: one is the other's negative, so
// that one of them wins wherever the sampler looks.
TEST_F(MethodsTest, RowsOfTheHeadDecideWhatIsGenerated) {
  TinyAdapterSpec spec = One();
  std::vector<testing::RawTensor> tensors =
      TinyAdapterTensors(spec, daemon_->modules());
  testing::RawTensor rows{
      "base_model.model.lm_head.token_adapter.trainable_tokens_delta",
      Dtype::kF32,
      {2, 48},
      ""};
  for (const float value : {50.0f, -50.0f}) {
    for (int i = 0; i < 48; ++i) {
      rows.bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
    }
  }
  tensors.push_back(rows);
  spec.config["trainable_token_indices"] = {{"lm_head", {601, 602}}};
  Register("rows", {spec.config.dump(), SafetensorsFile(tensors)});

  for (const v1::Recipe& recipe :
       {RecipeOf({{"rows", 1}}), RecipeOf({{"rows", 1}, {"two", 0.5f}})}) {
    const Answer answer = Generate(recipe);
    ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
    ASSERT_FALSE(answer.tokens.empty());
    for (const v1::Token& token : answer.tokens) {
      EXPECT_TRUE(token.id() == 601 || token.id() == 602) << token.id();
    }
  }
  const Answer half = Generate(RecipeOf({{"rows", 0.5f}}));
  EXPECT_EQ(half.status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(half.status.error_message(),
              HasSubstr("replaces rows of module \"lm_head\""));
  v1::Recipe left_out = RecipeOf({{"rows", 0.5f}});
  v1::ModuleWeight* weight = left_out.mutable_skills(0)->add_module_weights();
  weight->set_modules("lm_head");
  weight->set_weight(0);
  ExpectSameTokens(Generate(left_out).tokens,
                   Generate(RecipeOf({{"one", 0.5f}})).tokens, "left out");
}

TEST_F(MethodsTest, AnAdaptedEmbeddingIsServedAndMerged) {
  const TinyAdapterSpec spec{
      .config = LoraConfig(4, 8, {"q_proj", "embed_tokens"}), .seed = 9};
  Register("read", MakeTinyAdapter(spec, daemon_->modules()));
  const std::vector<v1::Token> base = Generate(v1::Recipe()).tokens;
  v1::Recipe svd = RecipeOf({{"read", 0.5f}, {"one", 0.25f}});
  const std::vector<v1::Token> cat = Generate(svd).tokens;
  svd.mutable_svd()->set_rank(8);
  ExpectSameTokens(Generate(svd).tokens, cat, "svd of the whole sum");
  ASSERT_EQ(base.size(), cat.size());
  EXPECT_GT(std::abs(base[0].logprob() - cat[0].logprob()), 1e-3);
  v1::Recipe ties = RecipeOf({{"read", 1}, {"one", 1}});
  ties.mutable_ties();
  EXPECT_TRUE(Generate(ties).status.ok());
}

TEST_F(MethodsTest, TheServerListsItsMethods) {
  auto stub = v1::AdminService::NewStub(daemon_->channel());
  grpc::ClientContext context;
  v1::ServerInfo info;
  ASSERT_TRUE(stub->GetServerInfo(&context, {}, &info).ok());
  const google::protobuf::OneofDescriptor& methods =
      *v1::Recipe::descriptor()->FindOneofByName("method");
  ASSERT_EQ(info.methods_size(), methods.field_count());
  for (const std::string& method : info.methods()) {
    EXPECT_NE(v1::Recipe::descriptor()->FindFieldByName(method), nullptr)
        << method;
  }
}

}  // namespace
}  // namespace stockpot
