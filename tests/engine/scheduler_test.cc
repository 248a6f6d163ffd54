#include "engine/scheduler.h"

#include <memory>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stockpot {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

Sequence Make(int64_t id, int32_t prompt, int32_t max_tokens,
              int32_t priority = 0) {
  Sequence sequence;
  sequence.id = id;
  sequence.priority = priority;
  sequence.token_ids.assign(prompt, 1);
  sequence.num_prompt_tokens = prompt;
  sequence.max_tokens = max_tokens;
  return sequence;
}

Scheduler::Options Small() {
  return {.max_running = 4,
          .max_step_tokens = 8,
          .num_kv_blocks = 8,
          .kv_block_tokens = 4};
}

// Appends a token to every sampled sequence, as the engine does.
void RunStep(Scheduler* scheduler, const std::vector<PlannedSequence>& plan) {
  scheduler->Commit(plan);
  for (const PlannedSequence& planned : plan) {
    if (planned.is_sampled) {
      planned.sequence->token_ids.push_back(2);
    }
  }
}

TEST(SchedulerTest, ReadsALongPromptInChunksAndSamplesAtItsEnd) {
  Scheduler scheduler(Small());
  Sequence sequence = Make(1, 18, 20);
  scheduler.Add(&sequence);
  std::vector<int32_t> rows;
  std::vector<bool> sampled;
  for (int i = 0; i < 4; ++i) {
    const auto plan = scheduler.Plan();
    ASSERT_THAT(plan, SizeIs(1));
    rows.push_back(plan[0].num_rows);
    sampled.push_back(plan[0].is_sampled);
    RunStep(&scheduler, plan);
  }
  EXPECT_THAT(rows, ::testing::ElementsAre(8, 8, 2, 1));
  EXPECT_THAT(sampled, ::testing::ElementsAre(false, false, true, true));
}

TEST(SchedulerTest, DecodingSequencesGoBeforePrompts) {
  Scheduler scheduler(Small());
  Sequence first = Make(1, 2, 8);
  scheduler.Add(&first);
  RunStep(&scheduler, scheduler.Plan());
  Sequence second = Make(2, 12, 16);
  scheduler.Add(&second);
  const auto plan = scheduler.Plan();
  ASSERT_THAT(plan, SizeIs(2));
  EXPECT_EQ(plan[0].sequence, &first);
  EXPECT_EQ(plan[0].num_rows, 1);
  EXPECT_EQ(plan[1].num_rows, 7);
}

TEST(SchedulerTest, HigherPriorityStartsFirstThenEarlierArrival) {
  Scheduler::Options options = Small();
  options.max_running = 1;
  Scheduler scheduler(options);
  Sequence late = Make(3, 1, 2, 5);
  Sequence low = Make(1, 1, 2, 0);
  Sequence early = Make(2, 1, 2, 5);
  for (Sequence* s : {&low, &late, &early}) {
    scheduler.Add(s);
  }
  for (Sequence* expected : {&early, &late, &low}) {
    const auto plan = scheduler.Plan();
    ASSERT_THAT(plan, SizeIs(1));
    EXPECT_EQ(plan[0].sequence, expected);
    RunStep(&scheduler, plan);
    scheduler.Remove(expected);
  }
}

TEST(SchedulerTest, SequenceWaitsUntilItsBlocksAreFree) {
  Scheduler scheduler(Small());  // 32 tokens of cache.
  Sequence big = Make(1, 20, 30);
  Sequence other = Make(2, 2, 12);
  scheduler.Add(&big);
  scheduler.Add(&other);
  EXPECT_THAT(scheduler.Plan(), SizeIs(1));
  EXPECT_EQ(scheduler.num_waiting(), 1);
  scheduler.Remove(&big);
  const auto plan = scheduler.Plan();
  ASSERT_THAT(plan, SizeIs(1));
  EXPECT_EQ(plan[0].sequence, &other);
}

TEST(SchedulerTest, LastTokenNeedsNoBlock) {
  Scheduler scheduler(Small());
  Sequence sequence = Make(1, 4, 5);
  scheduler.Add(&sequence);
  scheduler.Plan();
  EXPECT_THAT(sequence.block_ids, SizeIs(1));
}

TEST(SchedulerTest, KnowsWhatCouldNeverFit) {
  const Scheduler scheduler(Small());
  EXPECT_TRUE(scheduler.CouldFit(32));
  EXPECT_FALSE(scheduler.CouldFit(33));
}

TEST(SchedulerTest, RemovedWaitingSequenceNeverRuns) {
  Scheduler scheduler(Small());
  Sequence sequence = Make(1, 4, 6);
  scheduler.Add(&sequence);
  scheduler.Remove(&sequence);
  EXPECT_THAT(scheduler.Plan(), IsEmpty());
}

// Random arrivals, ends and cancels: no step exceeds its budgets, no two
// sequences share a block, every sequence ends, and nothing leaks.
TEST(SchedulerTest, InvariantsHoldUnderRandomTraffic) {
  std::mt19937 random(11);
  Scheduler scheduler(Small());
  std::vector<std::unique_ptr<Sequence>> live;
  int64_t next_id = 0;
  int ended = 0;
  for (int step = 0; step < 20000; ++step) {
    if (step < 18000 && live.size() < 12 && random() % 3 == 0) {
      const int32_t prompt = 1 + static_cast<int32_t>(random() % 20);
      const int32_t more = 1 + static_cast<int32_t>(random() % 10);
      live.push_back(
          std::make_unique<Sequence>(Make(next_id++, prompt, prompt + more,
                                          static_cast<int32_t>(random() % 3))));
      scheduler.Add(live.back().get());
    }
    const auto plan = scheduler.Plan();
    int32_t rows = 0;
    std::vector<bool> owned(8, false);
    for (const PlannedSequence& planned : plan) {
      rows += planned.num_rows;
      ASSERT_GE(planned.num_rows, 1);
      const Sequence& s = *planned.sequence;
      ASSERT_LE(s.num_computed + planned.num_rows,
                static_cast<int32_t>(s.block_ids.size()) * 4);
    }
    for (const auto& sequence : live) {
      for (const int32_t block : sequence->block_ids) {
        ASSERT_FALSE(owned[block]);
        owned[block] = true;
      }
    }
    ASSERT_LE(rows, 8);
    ASSERT_LE(scheduler.num_running(), 4);
    ASSERT_TRUE(!plan.empty() || live.empty());
    RunStep(&scheduler, plan);
    for (size_t i = 0; i < live.size();) {
      const bool is_done = live[i]->num_tokens() >= live[i]->max_tokens;
      if (is_done || random() % 50 == 0) {
        scheduler.Remove(live[i].get());
        live.erase(live.begin() + static_cast<int64_t>(i));
        ++ended;
      } else {
        ++i;
      }
    }
  }
  EXPECT_GT(ended, 1000);
  EXPECT_THAT(live, IsEmpty());
  EXPECT_EQ(scheduler.blocks().num_used(), 0);
}

}  // namespace
}  // namespace stockpot
