#include "client/command_line.h"

#include <sstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/client/fake_stockpotd.h"

namespace stockpot::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST(CommandLineTest, HelpTourAndVersionSucceed) {
  FakeStockpotd daemon;
  const CommandResult help = RunStockpot(daemon, {"--help"});
  EXPECT_EQ(help.code, kExitOk);
  EXPECT_THAT(help.out, AllOf(HasSubstr("A tour:"), HasSubstr("Exit codes:"),
                              HasSubstr("register")));
  EXPECT_THAT(RunStockpot(daemon, {"version"}).out, HasSubstr("stockpot "));
  EXPECT_EQ(RunStockpot(daemon, {"--version"}).code, kExitOk);
}

TEST(CommandLineTest, EveryCommandTeachesAnExample) {
  FakeStockpotd daemon;
  for (const char* command :
       {"register", "download", "list", "show", "rm", "alias", "generate",
        "tokenize", "info", "health"}) {
    const CommandResult help = RunStockpot(daemon, {command, "--help"});
    EXPECT_EQ(help.code, kExitOk) << command;
    EXPECT_THAT(help.out,
                HasSubstr(std::string("Example:\n  stockpot ") + command));
  }
}

TEST(CommandLineTest, WrongUsageExitsWithTwoAndCallsNobody) {
  FakeStockpotd daemon;
  const std::vector<std::vector<std::string>> wrong = {
      {"no-such-command"},
      {"generate", "a", "b"},
      {"generate", "a", "--temperature", "warm"},
      {"generate", "a", "--top-k", "-1"},
      {"generate", "a", "--max-new-tokens", "4294967296"},
      {"generate", "a", "--logprobs"},
      {"generate", "a", "--prompt-file", "b"},
      {"generate", "a", "--timeout", "0"},
      {"generate", "a", "--no-such-option"},
      {"register"},
      {"rm", "facts", "--yes"},
      {"rm", "facts@1"},
      {"alias", "facts", "prod"},
      {"alias", "--rm", "facts", "prod", "1"},
      {"alias", "facts", "prod", "one"},
  };
  for (const std::vector<std::string>& args : wrong) {
    const CommandResult result = RunStockpot(daemon, args);
    EXPECT_EQ(result.code, kExitUsage) << ::testing::PrintToString(args);
    EXPECT_THAT(result.out, IsEmpty()) << ::testing::PrintToString(args);
    EXPECT_THAT(result.err, Not(IsEmpty())) << ::testing::PrintToString(args);
  }
  EXPECT_FALSE(daemon.generation.request.has_prompt());
}

TEST(CommandLineTest, NobodyListeningIsUnavailableWithAHint) {
  std::istringstream in;
  std::ostringstream out;
  std::ostringstream err;
  Terminal terminal{.in = in, .out = out, .err = err};
  Interrupt interrupt;
  // The address may stand after the command. Nobody listens on port 1.
  EXPECT_EQ(
      RunCommandLine({"list", "--address", "127.0.0.1:1"}, terminal, interrupt),
      kExitUnavailable);
  EXPECT_THAT(err.str(),
              AllOf(HasSubstr("stockpot: UNAVAILABLE: "),
                    HasSubstr("is stockpotd running at 127.0.0.1:1")));
}

TEST(CommandLineTest, InfoShowsServerAndHealth) {
  FakeStockpotd daemon;
  const CommandResult text = RunStockpot(daemon, {"info"});
  EXPECT_EQ(text.code, kExitOk) << text.err;
  EXPECT_THAT(text.out,
              AllOf(HasSubstr("version       9.8.7\n"),
                    HasSubstr("health        SERVING\n"),
                    HasSubstr("context       512 tokens\n"),
                    HasSubstr("vocabulary    32000 tokens\n"),
                    HasSubstr("registry      12 adapters, 0 recipes, "
                              "2.0 KiB\n"),
                    HasSubstr("writable      no: its disk failed"),
                    HasSubstr("damaged       1 adapters\n"),
                    HasSubstr("verified      2023-11-14T22:13:20Z\n")));
  const CommandResult json = RunStockpot(daemon, {"info", "--json"});
  EXPECT_THAT(json.out,
              AllOf(HasSubstr(R"("version":"9.8.7")"),
                    HasSubstr(R"("context_tokens":512)"),
                    HasSubstr(R"("vocabulary_size":32000)"),
                    HasSubstr(R"("methods":["cat"])"),
                    HasSubstr(R"("num_damaged":1,"writable":false)")));
}

TEST(CommandLineTest, HealthSaysItWithItsExitCode) {
  FakeStockpotd daemon;
  const CommandResult good = RunStockpot(daemon, {"health"});
  EXPECT_EQ(good.code, kExitOk) << good.err;
  EXPECT_EQ(good.out, "SERVING\n");
  EXPECT_EQ(RunStockpot(daemon, {"health", "--service",
                                 "stockpot.v1.GenerationService"})
                .code,
            kExitOk);
  EXPECT_EQ(RunStockpot(daemon, {"health", "--service", "nobody"}).code,
            kExitNotFound);
  daemon.SetServing(false);
  const CommandResult bad = RunStockpot(daemon, {"health"});
  EXPECT_EQ(bad.code, kExitUnavailable);
  EXPECT_EQ(bad.out, "NOT_SERVING\n");
}

TEST(CommandLineTest, TokenizePrintsIds) {
  FakeStockpotd daemon;
  EXPECT_EQ(RunStockpot(daemon, {"tokenize", "hi"}).out, "1 22 333\n");
  EXPECT_EQ(RunStockpot(daemon,
                        {"tokenize", "--json", "--no-add-special-tokens", "hi"})
                .out,
            "{\"ids\":[1,22,333]}\n");
  const v1::Prompt& prompt = daemon.generation.tokenize_request.prompt();
  EXPECT_EQ(prompt.text(), "hi");
  EXPECT_TRUE(prompt.has_add_special_tokens());
  EXPECT_FALSE(prompt.add_special_tokens());
  EXPECT_FALSE(prompt.parse_special_tokens());
}

}  // namespace
}  // namespace stockpot::testing
