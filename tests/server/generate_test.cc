#include <cmath>
#include <limits>
#include <thread>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/server/test_daemon.h"

namespace stockpot {
namespace {

using ::stockpot::testing::FakeTokenizer;
using ::stockpot::testing::Gate;
using ::stockpot::testing::TestDaemon;
using ::testing::HasSubstr;
using ::testing::SizeIs;

TEST(GenerateTest, StreamsTheAnswerAndEndsWithAFinish) {
  TestDaemon daemon;
  const auto answer = daemon.Generate(TestDaemon::Letters("uvw", 10));
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.text, "xyz");
  ASSERT_THAT(answer.finishes, SizeIs(1));
  EXPECT_EQ(answer.finishes[0].finish_reason(), v1::FINISH_REASON_EOS);
  EXPECT_EQ(answer.finishes[0].usage().prompt_tokens(), 3u);
  EXPECT_EQ(answer.finishes[0].usage().generated_tokens(), 4u);
  EXPECT_EQ(answer.finishes[0].recipe().digest().size(), 64u);
  EXPECT_EQ(answer.finishes[0].recipe().method(), "cat");
}

TEST(GenerateTest, EchoLogprobsAndTokenIdsAreGiven) {
  TestDaemon daemon;
  v1::GenerateRequest request = TestDaemon::Letters("a", 2);
  request.mutable_output()->set_echo(true);
  request.mutable_output()->set_top_logprobs(2);
  grpc::ClientContext context;
  auto stream = daemon.generation().Generate(&context, request);
  v1::GenerateResponse response;
  std::string text;
  std::vector<v1::Token> tokens;
  while (stream->Read(&response)) {
    text += response.delta().text();
    for (const v1::Token& token : response.delta().tokens()) {
      tokens.push_back(token);
    }
  }
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_EQ(text, "abc");
  ASSERT_THAT(tokens, SizeIs(2));
  EXPECT_EQ(tokens[0].id(), 1u);
  // One logit of 10 among 27.
  EXPECT_NEAR(tokens[0].logprob(), -std::log1p(26 * std::exp(-10.0)), 1e-5);
  ASSERT_EQ(tokens[0].top_size(), 2);
  EXPECT_EQ(tokens[0].top(0).id(), 1u);
  EXPECT_NEAR(tokens[0].top(1).logprob(), tokens[0].logprob() - 10, 1e-4);
}

TEST(GenerateTest, SeveralSequencesEachFinish) {
  TestDaemon daemon;
  v1::GenerateRequest request = TestDaemon::Letters("a", 3);
  request.set_n(5);
  EXPECT_THAT(daemon.Generate(request).finishes, SizeIs(5));
}

TEST(GenerateTest, SeededSamplingRepeats) {
  TestDaemon daemon;
  v1::GenerateRequest request = TestDaemon::Letters("a", 20);
  request.mutable_sampling()->set_temperature(8);
  request.mutable_sampling()->set_seed(42);
  const std::string text = daemon.Generate(request).text;
  EXPECT_EQ(daemon.Generate(request).text, text);
  request.mutable_sampling()->set_seed(43);
  EXPECT_NE(daemon.Generate(request).text, text);
}

TEST(GenerateTest, RecipeIsResolvedAndReported) {
  TestDaemon daemon;
  const auto adapter = daemon.MakeAdapter(1);
  ASSERT_TRUE(daemon
                  .Register(TestDaemon::MetadataOf("one", adapter),
                            adapter.safetensors, 1000)
                  .ok());
  v1::GenerateRequest request = TestDaemon::Letters("a", 2);
  v1::Skill* skill = request.mutable_recipe()->add_skills();
  skill->set_adapter("one");
  skill->set_weight(0.5);
  const auto answer = daemon.Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  const v1::ResolvedRecipe& resolved = answer.finishes.at(0).recipe();
  ASSERT_EQ(resolved.skills_size(), 1);
  EXPECT_EQ(resolved.skills(0).name(), "one");
  EXPECT_EQ(resolved.skills(0).version(), 1);
  EXPECT_EQ(resolved.skills(0).weight(), 0.5f);
  EXPECT_EQ(daemon.runner().num_mixes, 1);
}

TEST(GenerateTest, DeletedAdapterIsNotFoundAfterwards) {
  TestDaemon daemon;
  const auto adapter = daemon.MakeAdapter(1);
  ASSERT_TRUE(daemon
                  .Register(TestDaemon::MetadataOf("one", adapter),
                            adapter.safetensors, 1 << 20)
                  .ok());
  grpc::ClientContext context;
  v1::DeleteAdapterRequest gone;
  gone.set_adapter("one@1");
  v1::DeleteAdapterResponse ignored;
  ASSERT_TRUE(daemon.registry().DeleteAdapter(&context, gone, &ignored).ok());
  v1::GenerateRequest request = TestDaemon::Letters("a", 2);
  request.mutable_recipe()->add_skills()->set_adapter("one");
  EXPECT_EQ(daemon.Generate(request).status.error_code(),
            grpc::StatusCode::NOT_FOUND);
}

// One request, changed; its status; and a part of the message.
struct BadRequest {
  const char* what;
  std::function<void(v1::GenerateRequest*)> change;
  grpc::StatusCode code;
  const char* message;
};

std::vector<BadRequest> BadRequests() {
  constexpr auto kInvalid = grpc::StatusCode::INVALID_ARGUMENT;
  const auto skills = [](int n, float weight) {
    return [=](v1::GenerateRequest* r) {
      for (int i = 0; i < n; ++i) {
        v1::Skill* skill = r->mutable_recipe()->add_skills();
        skill->set_adapter("unknown");
        skill->set_weight(weight);
      }
    };
  };
  return {
      {"no prompt", [](auto* r) { r->clear_prompt(); }, kInvalid, "prompt"},
      {"empty text", [](auto* r) { r->mutable_prompt()->set_text(""); },
       kInvalid, "no tokens"},
      {"huge text",
       [](auto* r) {
         r->mutable_prompt()->set_text(std::string((4 << 20) + 1, 'a'));
       },
       kInvalid, "prompt.text"},
      {"prompt over the context",
       [](auto* r) { r->mutable_prompt()->set_text(std::string(128, 'a')); },
       kInvalid, "context"},
      {"prompt and answer over the context",
       [](auto* r) { r->mutable_prompt()->set_text(std::string(127, 'a')); },
       kInvalid, "limits.max_new_tokens"},
      {"id out of range",
       [](auto* r) { r->mutable_prompt()->mutable_token_ids()->add_ids(27); },
       kInvalid, "prompt.token_ids[0]"},
      {"no new tokens",
       [](auto* r) { r->mutable_limits()->set_max_new_tokens(0); }, kInvalid,
       "limits.max_new_tokens"},
      {"2^31 new tokens",
       [](auto* r) { r->mutable_limits()->set_max_new_tokens(1u << 31); },
       kInvalid, "limits.max_new_tokens"},
      {"1000 stop strings",
       [](auto* r) {
         for (int i = 0; i < 1000; ++i) {
           r->mutable_limits()->add_stop_strings("x");
         }
       },
       kInvalid, "limits.stop_strings"},
      {"empty stop string",
       [](auto* r) { r->mutable_limits()->add_stop_strings(""); }, kInvalid,
       "limits.stop_strings[0]"},
      {"stop id out of range",
       [](auto* r) { r->mutable_limits()->add_stop_ids(1000); }, kInvalid,
       "limits.stop_ids[0]"},
      {"n of 65", [](auto* r) { r->set_n(65); }, kInvalid, "n must be"},
      {"n of 0", [](auto* r) { r->set_n(0); }, kInvalid, "n must be"},
      {"NaN temperature",
       [](auto* r) { r->mutable_sampling()->set_temperature(NAN); }, kInvalid,
       "sampling.temperature"},
      {"negative temperature",
       [](auto* r) { r->mutable_sampling()->set_temperature(-1); }, kInvalid,
       "sampling.temperature"},
      {"top_p of 0", [](auto* r) { r->mutable_sampling()->set_top_p(0); },
       kInvalid, "sampling.top_p"},
      {"bias of a huge id",
       [](auto* r) {
         (*r->mutable_sampling()->mutable_logit_bias())[0xffffffffu] = 1;
       },
       kInvalid, "sampling.logit_bias"},
      {"priority of 1000", [](auto* r) { r->set_priority(1000); }, kInvalid,
       "priority"},
      {"21 top logprobs",
       [](auto* r) { r->mutable_output()->set_top_logprobs(21); }, kInvalid,
       "output.top_logprobs"},
      {"65 skills", skills(65, 1), kInvalid, "recipe.skills"},
      {"unknown skill", skills(1, 1), grpc::StatusCode::NOT_FOUND, "unknown"},
      {"skill named by a path",
       [](auto* r) {
         r->mutable_recipe()->add_skills()->set_adapter("../../etc/passwd");
       },
       kInvalid, "recipe.skills[0].adapter"},
      {"unknown saved recipe", [](auto* r) { r->set_saved_recipe("x"); },
       grpc::StatusCode::NOT_FOUND, "recipe \"x\""},
      {"saved recipe named by a path",
       [](auto* r) { r->set_saved_recipe("../x"); }, kInvalid, "saved_recipe"},
      {"a density of 0",
       [](auto* r) { r->mutable_recipe()->mutable_ties()->set_density(0); },
       kInvalid, "recipe.ties.density"},
      {"chat", [](auto* r) { r->mutable_prompt()->mutable_chat(); },
       grpc::StatusCode::UNIMPLEMENTED, "prompt.chat"},
  };
}

TEST(GenerateTest, BadRequestsGetAClearStatusAndTheNextGoodOneRuns) {
  TestDaemon daemon;
  for (const BadRequest& bad : BadRequests()) {
    v1::GenerateRequest request = TestDaemon::Letters("a", 3);
    bad.change(&request);
    const auto answer = daemon.Generate(request);
    EXPECT_EQ(answer.status.error_code(), bad.code)
        << bad.what << ": " << answer.status.error_message();
    EXPECT_THAT(answer.status.error_message(), HasSubstr(bad.message))
        << bad.what;
  }
  EXPECT_EQ(daemon.Generate(TestDaemon::Letters("a", 3)).text, "bcd");
}

TEST(GenerateTest, WeightsOutOfBoundsAreRefused) {
  TestDaemon daemon;
  const auto adapter = daemon.MakeAdapter(1);
  ASSERT_TRUE(daemon
                  .Register(TestDaemon::MetadataOf("one", adapter),
                            adapter.safetensors, 1 << 20)
                  .ok());
  for (const float weight : {std::numeric_limits<float>::quiet_NaN(), 1e30f,
                             -101.0f, std::numeric_limits<float>::infinity()}) {
    v1::GenerateRequest request = TestDaemon::Letters("a", 2);
    v1::Skill* skill = request.mutable_recipe()->add_skills();
    skill->set_adapter("one");
    skill->set_weight(weight);
    const auto answer = daemon.Generate(request);
    EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(answer.status.error_message(),
                HasSubstr("recipe.skills[0].weight"));
  }
}

TEST(GenerateTest, ClientThatVanishesEndsTheWork) {
  TestDaemon daemon;
  daemon.runner().on_step = [](const StepBatch&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  };
  v1::GenerateRequest request = TestDaemon::Letters("a", 100);
  request.mutable_limits()->set_ignore_eos(true);
  {
    grpc::ClientContext context;
    auto stream = daemon.generation().Generate(&context, request);
    v1::GenerateResponse response;
    ASSERT_TRUE(stream->Read(&response));
    context.TryCancel();
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  for (int i = 0; i < 1000 && daemon.engine().num_calls() > 0; ++i) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_EQ(daemon.engine().num_calls(), 0);
  EXPECT_LT(daemon.runner().steps, 100);
}

TEST(GenerateTest, DeadlineEndsTheWork) {
  TestDaemon daemon;
  daemon.runner().on_step = [](const StepBatch&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  };
  v1::GenerateRequest request = TestDaemon::Letters("a", 120);
  request.mutable_limits()->set_ignore_eos(true);
  grpc::ClientContext context;
  context.set_deadline(
      absl::ToChronoTime(absl::Now() + absl::Milliseconds(60)));
  auto stream = daemon.generation().Generate(&context, request);
  v1::GenerateResponse response;
  while (stream->Read(&response)) {
  }
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  for (int i = 0; i < 1000 && daemon.engine().num_calls() > 0; ++i) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_EQ(daemon.engine().num_calls(), 0);
}

TEST(GenerateTest, ClientThatStopsReadingHoldsUpNobody) {
  TestDaemon daemon;
  v1::GenerateRequest request = TestDaemon::Letters("a", 120);
  request.mutable_limits()->set_ignore_eos(true);
  request.mutable_output()->set_top_logprobs(20);
  request.set_n(32);
  grpc::ClientContext context;
  auto stuck = daemon.generation().Generate(&context, request);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(daemon.Generate(TestDaemon::Letters("a", 3)).text, "bcd");
  }
  context.TryCancel();
}

TEST(GenerateTest, DrainingRefusesInWords) {
  TestDaemon daemon;
  daemon.engine().StopAccepting();
  const auto answer = daemon.Generate(TestDaemon::Letters("a", 3));
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST(GenerateTest, TokenizeAndDetokenizeAgree) {
  TestDaemon daemon;
  grpc::ClientContext context;
  v1::TokenizeRequest request;
  request.mutable_prompt()->set_text("abc");
  v1::TokenizeResponse ids;
  ASSERT_TRUE(daemon.generation().Tokenize(&context, request, &ids).ok());
  v1::DetokenizeRequest back;
  *back.mutable_ids() = ids.ids();
  grpc::ClientContext other;
  v1::DetokenizeResponse text;
  ASSERT_TRUE(daemon.generation().Detokenize(&other, back, &text).ok());
  EXPECT_EQ(text.text(), "abc");
}

TEST(GenerateTest, MethodThatIsNotBuiltSaysSo) {
  TestDaemon daemon;
  grpc::ClientContext context;
  v1::ScoreResponse response;
  const grpc::Status status =
      daemon.generation().Score(&context, {}, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_THAT(status.error_message(), HasSubstr("Score is not built yet"));
}

}  // namespace
}  // namespace stockpot
