// A store that does not answer: calls that need it wait, those that run do not.

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

#include "tests/server/test_daemon.h"

namespace stockpot {
namespace {

using ::stockpot::testing::Gate;
using ::stockpot::testing::TestDaemon;
using ::stockpot::testing::TinyAdapter;

v1::GenerateRequest WithSkill(const std::string& adapter) {
  v1::GenerateRequest request = TestDaemon::Letters("a", 20);
  v1::Skill* skill = request.mutable_recipe()->add_skills();
  skill->set_adapter(adapter);
  skill->set_weight(1);
  return request;
}

TEST(StoreStallTest, ARunningCallNeverWaitsForTheStore) {
  TestDaemon daemon;
  for (const char* name : {"one", "two"}) {
    const TinyAdapter adapter = daemon.MakeAdapter(name[0]);
    ASSERT_TRUE(daemon
                    .Register(TestDaemon::MetadataOf(name, adapter),
                              adapter.safetensors, 1 << 20)
                    .ok());
  }
  Gate is_running;
  Gate is_stalled;
  int num_steps = 0;
  daemon.runner().on_step = [&](const StepBatch&) {
    if (++num_steps == 3) {
      is_running.Open();
      is_stalled.Wait();
    }
  };
  TestDaemon::Answer running;
  std::thread first([&] { running = daemon.Generate(WithSkill("one")); });
  is_running.Wait();
  daemon.source().Hold();
  TestDaemon::Answer waiting;
  std::atomic<bool> has_ended = false;
  std::thread second([&] {
    waiting = daemon.Generate(WithSkill("two"));
    has_ended = true;
  });
  daemon.source().AwaitLoads(2);
  is_stalled.Open();
  first.join();
  EXPECT_TRUE(running.status.ok()) << running.status.error_message();
  EXPECT_EQ(running.text, "bcdefghijklmnopqrstu");
  EXPECT_FALSE(has_ended);
  daemon.source().Release();
  second.join();
  EXPECT_TRUE(waiting.status.ok()) << waiting.status.error_message();
  EXPECT_EQ(waiting.text, running.text);
}

}  // namespace
}  // namespace stockpot
