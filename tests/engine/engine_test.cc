#include "engine/engine.h"

#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/retry_after.h"
#include "tests/testing/engine_fakes.h"
#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::FakeRunner;
using ::stockpot::testing::FakeSink;
using ::stockpot::testing::FakeTokenizer;
using ::stockpot::testing::Gate;
using ::stockpot::testing::IsOk;
using ::stockpot::testing::StatusIs;
using ::testing::_;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class EngineTest : public ::testing::Test {
 protected:
  void Start(Engine::Options options) {
    engine_ =
        std::make_unique<Engine>(options, &runner_, &tokenizer_, &metrics_);
  }
  static Engine::Options Options() {
    Engine::Options options;
    options.scheduler = {.max_running = 4,
                         .max_step_tokens = 16,
                         .num_kv_blocks = 64,
                         .kv_block_tokens = 4};
    options.max_queued = 16;
    return options;
  }
  static PreparedCall Letters(const std::string& prompt, int32_t max_new) {
    PreparedCall call;
    for (const char c : prompt) {
      call.prompt.push_back(c - 'a');
    }
    call.max_new_tokens = max_new;
    call.eos_ids = {FakeTokenizer::kEos};
    return call;
  }
  absl::StatusOr<std::shared_ptr<Engine::Ticket>> Submit(
      PreparedCall call, std::shared_ptr<FakeSink> sink, int32_t n = 1,
      absl::Time deadline = absl::InfiniteFuture()) {
    return engine_->Submit(
        [call]() -> absl::StatusOr<PreparedCall> { return call; }, n, sink,
        deadline);
  }

  FakeTokenizer tokenizer_;
  FakeRunner runner_;
  Metrics metrics_;
  std::unique_ptr<Engine> engine_;  // Last: ends before what it uses.
};

TEST_F(EngineTest, ContinuesThePromptUntilTheModelEnds) {
  Start(Options());
  auto sink = std::make_shared<FakeSink>();
  ASSERT_THAT(Submit(Letters("uvw", 20), sink), IsOk());
  ASSERT_THAT(sink->Wait(), IsOk());
  EXPECT_EQ(sink->text(), "xyz");
  ASSERT_THAT(sink->finishes(), SizeIs(1));
  EXPECT_EQ(sink->finishes()[0].reason, FinishReason::kEos);
  EXPECT_EQ(sink->finishes()[0].prompt_tokens, 3);
  EXPECT_EQ(sink->finishes()[0].generated_tokens, 4);
}

TEST_F(EngineTest, StopsAtTheTokenLimit) {
  Start(Options());
  auto sink = std::make_shared<FakeSink>();
  ASSERT_THAT(Submit(Letters("a", 3), sink), IsOk());
  ASSERT_THAT(sink->Wait(), IsOk());
  EXPECT_EQ(sink->text(), "bcd");
  EXPECT_EQ(sink->finishes()[0].reason, FinishReason::kLength);
}

TEST_F(EngineTest, StopStringEndsTheTextBeforeIt) {
  Start(Options());
  auto sink = std::make_shared<FakeSink>();
  PreparedCall call = Letters("a", 20);
  call.stop_strings = {"ef"};
  ASSERT_THAT(Submit(call, sink), IsOk());
  ASSERT_THAT(sink->Wait(), IsOk());
  EXPECT_EQ(sink->text(), "bcd");
  EXPECT_EQ(sink->finishes()[0].reason, FinishReason::kStop);
}

TEST_F(EngineTest, StopIdIsNotPartOfTheText) {
  Start(Options());
  auto sink = std::make_shared<FakeSink>();
  PreparedCall call = Letters("a", 20);
  call.stop_ids = {'d' - 'a'};
  ASSERT_THAT(Submit(call, sink), IsOk());
  ASSERT_THAT(sink->Wait(), IsOk());
  EXPECT_EQ(sink->text(), "bc");
}

TEST_F(EngineTest, SeveralSequencesOfOneCallEachFinish) {
  Start(Options());
  auto sink = std::make_shared<FakeSink>();
  ASSERT_THAT(Submit(Letters("x", 20), sink, 3), IsOk());
  ASSERT_THAT(sink->Wait(), IsOk());
  EXPECT_THAT(sink->finishes(), SizeIs(3));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(sink->text(i), "yz");
  }
}

TEST_F(EngineTest, ManyCallsAtOnceDoNotMixTheirTokens) {
  Start(Options());
  std::vector<std::shared_ptr<FakeSink>> sinks;
  std::vector<std::string> prompts;
  for (int i = 0; i < 12; ++i) {
    prompts.push_back(std::string(1 + i, static_cast<char>('a' + i)));
    sinks.push_back(std::make_shared<FakeSink>());
    ASSERT_THAT(Submit(Letters(prompts.back(), 5), sinks.back()), IsOk());
  }
  for (int i = 0; i < 12; ++i) {
    ASSERT_THAT(sinks[i]->Wait(), IsOk());
    std::string expected;
    for (int k = 1; k <= 5; ++k) {
      expected += static_cast<char>('a' + i + k);
    }
    EXPECT_EQ(sinks[i]->text(), expected);
  }
}

TEST_F(EngineTest, FailedPreparationEndsTheCallWithItsStatus) {
  Start(Options());
  auto sink = std::make_shared<FakeSink>();
  ASSERT_THAT(engine_->Submit(
                  []() -> absl::StatusOr<PreparedCall> {
                    return absl::NotFoundError("no such skill");
                  },
                  1, sink, absl::InfiniteFuture()),
              IsOk());
  EXPECT_THAT(sink->Wait(),
              StatusIs(absl::StatusCode::kNotFound, "no such skill"));
}

TEST_F(EngineTest, FullQueueRefusesAndLaterAcceptsAgain) {
  Engine::Options options = Options();
  options.max_queued = 2;
  Start(options);
  Gate gate;
  auto blocked = std::make_shared<FakeSink>();
  // Its preparation waits at the gate.
  ASSERT_THAT(engine_->Submit(
                  [&]() -> absl::StatusOr<PreparedCall> {
                    gate.Wait();
                    return Letters("y", 5);
                  },
                  2, blocked, absl::InfiniteFuture()),
              IsOk());
  auto refused = std::make_shared<FakeSink>();
  const absl::Status full = Submit(Letters("y", 5), refused).status();
  EXPECT_THAT(full, StatusIs(absl::StatusCode::kResourceExhausted,
                             HasSubstr("2 of at most 2")));
  EXPECT_TRUE(RetryAfter(full).has_value());
  EXPECT_EQ(refused->num_done(), 0);
  gate.Open();
  ASSERT_THAT(blocked->Wait(), IsOk());
  EXPECT_THAT(Submit(Letters("y", 5), refused), IsOk());
  EXPECT_THAT(refused->Wait(), IsOk());
}

TEST_F(EngineTest, CancelEndsTheCallWithinAStep) {
  Start(Options());
  auto sink = std::make_shared<FakeSink>();
  std::shared_ptr<Engine::Ticket> ticket;
  Gate has_ticket;
  std::atomic<int> steps_at_cancel{-1};
  sink->on_delta = [&] {
    has_ticket.Wait();
    if (steps_at_cancel < 0) {
      steps_at_cancel = runner_.steps.load();
      ticket->Cancel();
    }
  };
  auto submitted = Submit(Letters("a", 24), sink);
  ASSERT_THAT(submitted, IsOk());
  ticket = *submitted;
  has_ticket.Open();
  EXPECT_THAT(sink->Wait(), StatusIs(absl::StatusCode::kCancelled, _));
  EXPECT_LE(runner_.steps - steps_at_cancel, 1);
  EXPECT_EQ(sink->num_done(), 1);
}

TEST_F(EngineTest, ExpiredCallIsNeverRun) {
  Start(Options());
  auto sink = std::make_shared<FakeSink>();
  ASSERT_THAT(Submit(Letters("a", 5), sink, 1, absl::Now() - absl::Seconds(1)),
              IsOk());
  EXPECT_THAT(sink->Wait(), StatusIs(absl::StatusCode::kDeadlineExceeded, _));
  EXPECT_EQ(runner_.steps, 0);
}

TEST_F(EngineTest, SlowReaderLosesItsCallOnly) {
  Start(Options());
  auto slow = std::make_shared<FakeSink>();
  slow->is_slow = true;
  auto good = std::make_shared<FakeSink>();
  ASSERT_THAT(Submit(Letters("a", 20), slow), IsOk());
  ASSERT_THAT(Submit(Letters("w", 20), good), IsOk());
  EXPECT_THAT(slow->Wait(), StatusIs(absl::StatusCode::kResourceExhausted, _));
  EXPECT_THAT(good->Wait(), IsOk());
  EXPECT_EQ(good->text(), "xyz");
}

TEST_F(EngineTest, CallThatCouldNeverFitIsRefusedInWords) {
  Start(Options());  // 256 tokens of cache.
  auto sink = std::make_shared<FakeSink>();
  ASSERT_THAT(Submit(Letters(std::string(250, 'a'), 7), sink), IsOk());
  EXPECT_THAT(sink->Wait(), StatusIs(absl::StatusCode::kInvalidArgument,
                                     HasSubstr("--kv_cache_bytes")));
}

TEST_F(EngineTest, OutputThatIsNotFiniteEndsTheCallAndTheEngineGoesOn) {
  Start(Options());
  runner_.nan = true;
  auto bad = std::make_shared<FakeSink>();
  ASSERT_THAT(Submit(Letters("a", 5), bad), IsOk());
  EXPECT_THAT(bad->Wait(),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("not finite")));
  runner_.nan = false;
  auto good = std::make_shared<FakeSink>();
  ASSERT_THAT(Submit(Letters("x", 5), good), IsOk());
  EXPECT_THAT(good->Wait(), IsOk());
}

TEST_F(EngineTest, DrainLetsCallsEndAndRefusesNewOnes) {
  Start(Options());
  auto sink = std::make_shared<FakeSink>();
  ASSERT_THAT(Submit(Letters("a", 24), sink), IsOk());
  EXPECT_EQ(engine_->Drain(absl::Now() + absl::Seconds(30)), 0);
  EXPECT_THAT(sink->Wait(), IsOk());
  EXPECT_THAT(Submit(Letters("a", 5), std::make_shared<FakeSink>()),
              StatusIs(absl::StatusCode::kUnavailable, _));
}

TEST_F(EngineTest, DrainCutsWhatOutlivesItsDeadline) {
  Start(Options());
  runner_.on_step = [](const StepBatch&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  };
  auto sink = std::make_shared<FakeSink>();
  PreparedCall call = Letters("a", 200);
  call.eos_ids.clear();
  ASSERT_THAT(Submit(call, sink), IsOk());
  EXPECT_EQ(engine_->Drain(absl::Now() + absl::Milliseconds(50)), 1);
  EXPECT_THAT(sink->Wait(), StatusIs(absl::StatusCode::kUnavailable, _));
}

TEST_F(EngineTest, EqualRecipesOfABatchShareOneMix) {
  Start(Options());
  auto composition = std::make_shared<Composition>();
  composition->recipe.bytes[0] = 1;
  auto other = std::make_shared<Composition>();
  other->recipe.bytes[0] = 2;
  std::vector<std::shared_ptr<FakeSink>> sinks;
  std::atomic<int> most{0};
  runner_.on_step = [&](const StepBatch& batch) {
    for (const StepSequence& s : batch.sequences) {
      most = std::max<int>(most, s.mix);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  };
  for (const auto& recipe :
       {composition, composition, other, std::shared_ptr<Composition>()}) {
    PreparedCall call = Letters("a", 20);
    call.composition = recipe;
    sinks.push_back(std::make_shared<FakeSink>());
    ASSERT_THAT(Submit(call, sinks.back()), IsOk());
  }
  for (const auto& sink : sinks) {
    EXPECT_THAT(sink->Wait(), IsOk());
  }
  EXPECT_EQ(most, 2);
}

// Every accepted call ends exactly once, whatever is cancelled when.
TEST_F(EngineTest, EveryCallEndsOnceUnderRandomCancels) {
  Engine::Options options = Options();
  options.max_queued = 1000;
  Start(options);
  std::mt19937 random(3);
  std::vector<std::shared_ptr<FakeSink>> sinks;
  std::vector<std::shared_ptr<Engine::Ticket>> tickets;
  for (int i = 0; i < 300; ++i) {
    sinks.push_back(std::make_shared<FakeSink>());
    auto ticket = Submit(Letters("a", 1 + static_cast<int32_t>(random() % 24)),
                         sinks.back(), 1 + static_cast<int32_t>(random() % 3));
    ASSERT_THAT(ticket, IsOk());
    tickets.push_back(*ticket);
    if (random() % 2 == 0) {
      tickets[random() % tickets.size()]->Cancel();
    }
  }
  for (const auto& sink : sinks) {
    sink->Wait().IgnoreError();
  }
  EXPECT_EQ(engine_->Drain(absl::Now() + absl::Seconds(30)), 0);
  EXPECT_EQ(engine_->num_calls(), 0);
  engine_.reset();
  for (const auto& sink : sinks) {
    EXPECT_EQ(sink->num_done(), 1);
  }
}

}  // namespace
}  // namespace stockpot
