// generate against a fake server.

#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <nlohmann/json.hpp>

#include "tests/client/fake_stockpotd.h"
#include "tests/testing/temp_dir.h"

namespace stockpot::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Notes what it holds at each flush.
class FlushRecorder : public std::stringbuf {
 public:
  int sync() override {
    flushed.push_back(str());
    return 0;
  }
  std::vector<std::string> flushed;
};

class GenerateTest : public ::testing::Test {
 protected:
  void AddDelta(uint32_t index, const std::string& text,
                const std::vector<uint32_t>& ids) {
    v1::Delta* delta = daemon_.generation.events.emplace_back().mutable_delta();
    delta->set_index(index);
    delta->set_text(text);
    for (const uint32_t id : ids) {
      v1::Token* token = delta->add_tokens();
      token->set_id(id);
      token->set_logprob(-0.1F);
      v1::TokenLogprob* top = token->add_top();
      top->set_id(id + 1);
      top->set_logprob(-2.5F);
    }
  }
  void AddFinish(uint32_t index, v1::FinishReason reason) {
    v1::Finish* finish =
        daemon_.generation.events.emplace_back().mutable_finish();
    finish->set_index(index);
    finish->set_finish_reason(reason);
    finish->mutable_usage()->set_prompt_tokens(4);
    finish->mutable_usage()->set_generated_tokens(3);
    finish->mutable_timings()->mutable_decode()->set_nanos(500'000'000);
    finish->mutable_recipe()->set_digest("d1ge57");
    v1::ResolvedSkill* skill = finish->mutable_recipe()->add_skills();
    skill->set_name("facts");
    skill->set_version(2);
    skill->set_weight(0.8F);
  }
  void AddAnswer() {
    AddDelta(0, "Hello", {5});
    AddDelta(0, "", {6});
    AddDelta(0, " w\u00f6rld", {7});
    AddFinish(0, v1::FINISH_REASON_EOS);
  }
  const v1::GenerateRequest& request() const {
    return daemon_.generation.request;
  }

  FakeStockpotd daemon_;
};

TEST_F(GenerateTest, TextAppearsDeltaByDelta) {
  AddAnswer();
  FlushRecorder recorder;
  std::ostream out(&recorder);
  std::ostringstream err;
  Interrupt interrupt;
  EXPECT_EQ(RunStockpot(daemon_, {"generate", "hi"}, out, err, interrupt),
            kExitOk);
  ASSERT_GE(recorder.flushed.size(), 3U);
  EXPECT_EQ(recorder.flushed[0], "Hello");
  EXPECT_EQ(recorder.flushed[1], "Hello w\u00f6rld");
  EXPECT_EQ(recorder.str(), "Hello w\u00f6rld\n");
  EXPECT_THAT(err.str(), IsEmpty());
}

TEST_F(GenerateTest, PlainCallLeavesAllDefaultsToTheServer) {
  AddAnswer();
  ASSERT_EQ(RunStockpot(daemon_, {"generate", "hi"}).code, kExitOk);
  v1::GenerateRequest expected;
  expected.mutable_prompt()->set_text("hi");
  expected.mutable_sampling();
  expected.mutable_limits();
  expected.mutable_output();
  EXPECT_EQ(request().SerializeAsString(), expected.SerializeAsString())
      << request().DebugString();
}

TEST_F(GenerateTest, EveryOptionReachesItsField) {
  AddAnswer();
  const CommandResult result = RunStockpot(daemon_, {"generate",
                                                     "--recipe",
                                                     "facts=1,json@prod=0.8",
                                                     "--skill",
                                                     "x=-.5",
                                                     "--module-weight",
                                                     "facts:*.mlp.*=0.5",
                                                     "--max-new-tokens",
                                                     "9",
                                                     "--temperature",
                                                     "0.7",
                                                     "--top-k",
                                                     "40",
                                                     "--top-p",
                                                     "0.9",
                                                     "--min-p",
                                                     "0.05",
                                                     "--repetition-penalty",
                                                     "1.1",
                                                     "--seed",
                                                     "18446744073709551615",
                                                     "--stop",
                                                     "A",
                                                     "--stop",
                                                     "[b,c]",
                                                     "--stop-id",
                                                     "3",
                                                     "--stop-id",
                                                     "4",
                                                     "--ignore-eos",
                                                     "--json",
                                                     "--top-logprobs",
                                                     "2",
                                                     "--no-add-special-tokens",
                                                     "--keep-special-tokens",
                                                     "--echo",
                                                     "-n",
                                                     "1",
                                                     "list"});
  ASSERT_EQ(result.code, kExitOk) << result.err;
  const v1::GenerateRequest& r = request();
  EXPECT_EQ(r.prompt().text(), "list");  // Not the command of that name.
  EXPECT_TRUE(r.prompt().has_add_special_tokens());
  EXPECT_FALSE(r.prompt().add_special_tokens());
  EXPECT_FALSE(r.prompt().parse_special_tokens());
  ASSERT_EQ(r.recipe().skills_size(), 3);
  EXPECT_EQ(r.recipe().skills(1).adapter(), "json@prod");
  EXPECT_EQ(r.recipe().skills(2).weight(), -0.5F);
  EXPECT_EQ(r.recipe().skills(0).module_weights(0).modules(), "*.mlp.*");
  EXPECT_EQ(r.limits().max_new_tokens(), 9U);
  EXPECT_THAT(r.limits().stop_strings(), ElementsAre("A", "[b,c]"));
  EXPECT_THAT(r.limits().stop_ids(), ElementsAre(3, 4));
  EXPECT_TRUE(r.limits().ignore_eos());
  EXPECT_EQ(r.sampling().temperature(), 0.7F);
  EXPECT_EQ(r.sampling().top_k(), 40U);
  EXPECT_EQ(r.sampling().top_p(), 0.9F);
  EXPECT_EQ(r.sampling().min_p(), 0.05F);
  EXPECT_EQ(r.sampling().repetition_penalty(), 1.1F);
  EXPECT_EQ(r.sampling().seed(), UINT64_MAX);
  EXPECT_TRUE(r.output().logprobs());
  EXPECT_EQ(r.output().top_logprobs(), 2U);
  EXPECT_TRUE(r.output().echo());
  EXPECT_TRUE(r.output().keep_special_tokens());
  EXPECT_EQ(r.n(), 1U);
}

TEST_F(GenerateTest, TemplateWrapsThePromptAndParsesItsTokens) {
  AddAnswer();
  ASSERT_EQ(RunStockpot(daemon_,
                        {"generate", "--template",
                         R"(<|im_start|>user\n{}<|im_end|>\n)", "-"},
                        {.in = "who?\n"})
                .code,
            kExitOk);
  EXPECT_EQ(request().prompt().text(), "<|im_start|>user\nwho?<|im_end|>\n");
  EXPECT_TRUE(request().prompt().parse_special_tokens());
}

TEST_F(GenerateTest, PromptComesFromArgumentFileOrInput) {
  AddAnswer();
  TempDir temp;
  const std::string path = temp.path() + "/prompt.txt";
  std::ofstream(path) << "from a file\n\n";
  RunStockpot(daemon_, {"generate", "--prompt-file", path});
  EXPECT_EQ(request().prompt().text(), "from a file\n");
  RunStockpot(daemon_, {"generate"}, {.in = "from input"});
  EXPECT_EQ(request().prompt().text(), "from input");
  RunStockpot(daemon_, {"generate", ""}, {.in = "not this"});
  EXPECT_EQ(request().prompt().text(), "");
  RunStockpot(daemon_, {"generate", "--", "--stats"});
  EXPECT_EQ(request().prompt().text(), "--stats");
  RunStockpot(daemon_, {"generate", "[1,2]"});
  EXPECT_EQ(request().prompt().text(), "[1,2]");
  RunStockpot(daemon_, {"generate", "ends in a newline\n"});
  EXPECT_EQ(request().prompt().text(), "ends in a newline\n");
}

TEST_F(GenerateTest, BadPromptsAndRecipesAreInvalid) {
  EXPECT_EQ(RunStockpot(daemon_, {"generate"}, {.in_is_terminal = true}).code,
            kExitInvalidArgument);
  EXPECT_EQ(RunStockpot(daemon_, {"generate", "\xff"}).code,
            kExitInvalidArgument);
  EXPECT_EQ(RunStockpot(daemon_, {"generate"},
                        {.in = std::string((4 << 20) + 2, 'a')})
                .code,
            kExitInvalidArgument);
  EXPECT_EQ(RunStockpot(daemon_, {"generate", "--prompt-file", "/none"}).code,
            kExitNotFound);
  EXPECT_EQ(RunStockpot(daemon_, {"generate", "x", "--recipe", "a=b"}).code,
            kExitInvalidArgument);
  EXPECT_EQ(
      RunStockpot(daemon_, {"generate", "x", "--module-weight", "a:*=1"}).code,
      kExitInvalidArgument);
  EXPECT_EQ(RunStockpot(daemon_, {"generate", "x", "--method", "ties"}).code,
            kExitInvalidArgument);
  EXPECT_EQ(RunStockpot(daemon_, {"generate", "x", "--recipe", "a,b",
                                  "--method", "ties", "--gamma", "0.1"})
                .code,
            kExitInvalidArgument);
  EXPECT_FALSE(request().has_prompt());
}

TEST_F(GenerateTest, MethodAndItsOptionsReachTheRecipe) {
  AddAnswer();
  const CommandResult result = RunStockpot(daemon_, {"generate",
                                                     "--recipe",
                                                     "facts=1,json=0.8",
                                                     "--method",
                                                     "dare",
                                                     "--density",
                                                     "0.3",
                                                     "--elect-signs",
                                                     "--sign-election",
                                                     "frequency",
                                                     "--space",
                                                     "core",
                                                     "--rank",
                                                     "16",
                                                     "--dialect",
                                                     "mergekit",
                                                     "--lambda",
                                                     "0.5",
                                                     "--merge-seed",
                                                     "7",
                                                     "--pico",
                                                     "--seed",
                                                     "3",
                                                     "hi"});
  ASSERT_EQ(result.code, kExitOk) << result.err;
  const v1::Recipe& recipe = request().recipe();
  EXPECT_EQ(recipe.skills_size(), 2);
  EXPECT_TRUE(recipe.pico());
  EXPECT_EQ(recipe.dare().density(), 0.3F);
  EXPECT_TRUE(recipe.dare().elect_signs());
  EXPECT_EQ(recipe.dare().sign_election(),
            v1::TiesMethod::SIGN_ELECTION_FREQUENCY);
  EXPECT_EQ(recipe.dare().space(), v1::TiesMethod::SPACE_CORE);
  EXPECT_EQ(recipe.dare().rank(), 16U);
  EXPECT_EQ(recipe.dare().dialect(), v1::MERGE_DIALECT_MERGEKIT);
  EXPECT_EQ(recipe.dare().lambda(), 0.5F);
  EXPECT_EQ(recipe.dare().seed(), 7U);
  EXPECT_EQ(request().sampling().seed(), 3U);
}

TEST_F(GenerateTest, JsonHasAllOfTheAnswerOnOneLine) {
  AddAnswer();
  const CommandResult result =
      RunStockpot(daemon_, {"generate", "hi", "--json", "--logprobs"});
  ASSERT_EQ(result.code, kExitOk) << result.err;
  EXPECT_EQ(result.out.find('\n'), result.out.size() - 1);
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["index"], 0);
  EXPECT_EQ(json["text"], "Hello w\u00f6rld");
  EXPECT_EQ(json["ids"], nlohmann::json({5, 6, 7}));
  EXPECT_EQ(json["finish_reason"], "eos");
  EXPECT_EQ(json["usage"]["generated_tokens"], 3);
  EXPECT_EQ(json["timings"]["decode"], 0.5);
  EXPECT_EQ(json["recipe"]["digest"], "d1ge57");
  EXPECT_THAT(result.out, HasSubstr(R"("weight":0.8})"));
  EXPECT_THAT(result.out, HasSubstr(R"("logprob":-0.1,)"));
  EXPECT_EQ(json["tokens"][2]["top"][0]["id"], 8);
}

TEST_F(GenerateTest, SeveralSequencesArePrintedWholeAndApart) {
  AddDelta(0, "a1 ", {1});
  AddDelta(1, "b1 ", {2});
  AddDelta(0, "a2", {3});
  AddFinish(0, v1::FINISH_REASON_STOP);
  AddDelta(1, "b2\n", {4});
  AddFinish(1, v1::FINISH_REASON_LENGTH);
  const CommandResult result =
      RunStockpot(daemon_, {"generate", "hi", "-n", "2"});
  EXPECT_EQ(result.code, kExitOk) << result.err;
  EXPECT_EQ(result.out,
            "--- 1 of 2 (stop)\na1 a2\n--- 2 of 2 (length)\nb1 b2\n");
  const CommandResult json =
      RunStockpot(daemon_, {"generate", "hi", "-n", "2", "--json"});
  const std::vector<std::string> lines = absl::StrSplit(json.out, '\n');
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(nlohmann::json::parse(lines[1])["text"], "b1 b2\n");
}

TEST_F(GenerateTest, StatsGoToStandardError) {
  AddAnswer();
  const CommandResult result =
      RunStockpot(daemon_, {"generate", "hi", "--stats"});
  EXPECT_EQ(result.out, "Hello w\u00f6rld\n");
  EXPECT_THAT(result.err,
              AllOf(HasSubstr("4 prompt (0 cached) + 3 generated tokens"),
                    HasSubstr("4.0 tokens/s"), HasSubstr("recipe d1ge57")));
}

TEST_F(GenerateTest, ControlCharactersAreKeptFromTerminalsOnly) {
  AddDelta(0, "x\x1b[2J", {1});
  AddFinish(0, v1::FINISH_REASON_EOS);
  EXPECT_EQ(RunStockpot(daemon_, {"generate", "hi"}).out, "x\x1b[2J\n");
  EXPECT_EQ(
      RunStockpot(daemon_, {"generate", "hi"}, {.out_is_terminal = true}).out,
      "x\uFFFD[2J\n");
}

TEST_F(GenerateTest, StatusOfTheCallDecidesTheExitCode) {
  AddDelta(0, "partial", {1});
  const std::vector<std::pair<grpc::StatusCode, ExitCode>> cases = {
      {grpc::StatusCode::NOT_FOUND, kExitNotFound},
      {grpc::StatusCode::INVALID_ARGUMENT, kExitInvalidArgument},
      {grpc::StatusCode::UNAVAILABLE, kExitUnavailable},
      {grpc::StatusCode::RESOURCE_EXHAUSTED, kExitResourceExhausted},
      {grpc::StatusCode::UNIMPLEMENTED, kExitUnimplemented},
      {grpc::StatusCode::FAILED_PRECONDITION, kExitFailure},
  };
  for (const auto& [code, exit_code] : cases) {
    daemon_.generation.status = grpc::Status(code, "because");
    const CommandResult result = RunStockpot(daemon_, {"generate", "hi"});
    EXPECT_EQ(result.code, exit_code);
    EXPECT_EQ(result.out, "partial\n");
    EXPECT_THAT(result.err, HasSubstr("because"));
  }
}

TEST_F(GenerateTest, AnswerWithoutAnEndIsAFailure) {
  AddDelta(0, "partial", {1});
  const CommandResult result = RunStockpot(daemon_, {"generate", "hi"});
  EXPECT_EQ(result.code, kExitFailure);
  EXPECT_THAT(result.err, HasSubstr("without finishing sequence 0"));
}

TEST_F(GenerateTest, SequenceThatWasNotAskedForIsAFailure) {
  AddDelta(7, "x", {1});
  AddFinish(0, v1::FINISH_REASON_EOS);
  EXPECT_EQ(RunStockpot(daemon_, {"generate", "hi"}).code, kExitFailure);
}

TEST_F(GenerateTest, TimeoutEndsTheCall) {
  daemon_.generation.hangs = true;
  const CommandResult result =
      RunStockpot(daemon_, {"generate", "hi", "--timeout", "0.2"});
  EXPECT_EQ(result.code, kExitDeadline);
  EXPECT_THAT(result.err, HasSubstr("DEADLINE_EXCEEDED"));
}

TEST_F(GenerateTest, InterruptCancelsTheCallAndKeepsWhatCame) {
  AddDelta(0, "partial", {1});
  daemon_.generation.hangs = true;
  FlushRecorder recorder;
  std::ostream out(&recorder);
  std::ostringstream err;
  Interrupt interrupt;
  std::thread presses([&] {
    absl::SleepFor(absl::Milliseconds(500));
    interrupt.Trigger();
  });
  const ExitCode code =
      RunStockpot(daemon_, {"generate", "hi"}, out, err, interrupt);
  presses.join();
  EXPECT_EQ(code, kExitCancelled);
  EXPECT_EQ(recorder.str(), "partial\n");
  // The server notices on a thread of its own.
  for (int i = 0; i < 1000 && !daemon_.generation.was_cancelled; ++i) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  EXPECT_TRUE(daemon_.generation.was_cancelled);
}

TEST_F(GenerateTest, InterruptBeforeTheCallHasNothingToCancel) {
  Interrupt interrupt;
  EXPECT_FALSE(interrupt.Trigger());
  grpc::ClientContext context;
  const Interrupt::Watch watch(interrupt, context);
  EXPECT_FALSE(interrupt.Trigger());  // The second: time to give up.
}

}  // namespace
}  // namespace stockpot::testing
