// Inspections through the wire: made once after the upload, made again when
// they are lost, and never in the way of anything else.

#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/sha256.h"
#include "server/inspection_queue.h"
#include "tests/server/test_daemon.h"

namespace stockpot {
namespace {

using ::stockpot::testing::FakeInspector;
using ::stockpot::testing::TestDaemon;
using ::stockpot::testing::TinyAdapter;

constexpr absl::Duration kForever = absl::Hours(1);

class InspectionTest : public ::testing::Test {
 protected:
  static TestDaemon::Options WithPatience(absl::Duration patience,
                                          absl::Duration limit = kForever) {
    TestDaemon::Options options;
    options.inspections.patience = patience;
    options.inspections.time_limit = limit;
    return options;
  }

  // Uploads an adapter whose bytes `seed` decides, and returns its digest.
  static Digest Register(TestDaemon& daemon, const std::string& name,
                         uint64_t seed) {
    const TinyAdapter adapter = daemon.MakeAdapter(seed);
    v1::RegisterAdapterResponse response;
    const grpc::Status status =
        daemon.Register(TestDaemon::MetadataOf(name, adapter),
                        adapter.safetensors, 1 << 20, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return Digest::FromHex(response.adapter().digest()).value_or(Digest());
  }

  static v1::Adapter Get(TestDaemon& daemon, const std::string& name) {
    grpc::ClientContext context;
    v1::GetAdapterRequest request;
    request.set_adapter(name);
    v1::Adapter adapter;
    const grpc::Status status =
        daemon.registry().GetAdapter(&context, request, &adapter);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return adapter;
  }

  static bool IsStored(TestDaemon& daemon, const Digest& digest) {
    const auto found = daemon.store().inspections().Find(digest);
    return found.ok() && found->has_value();
  }
};

TEST_F(InspectionTest, GetHasItAndListingsDoNot) {
  TestDaemon daemon(WithPatience(kForever));
  const Digest digest = Register(daemon, "a", 1);
  const v1::Adapter adapter = Get(daemon, "a");
  ASSERT_EQ(adapter.inspection().modules_size(), 1);
  EXPECT_EQ(adapter.inspection().modules(0).module(),
            "model.layers.0.self_attn.q_proj");
  EXPECT_EQ(adapter.inspection().modules(0).frobenius_norm(), 2.5);
  EXPECT_EQ(adapter.inspection().num_dead_ranks(), 1u);
  EXPECT_TRUE(IsStored(daemon, digest));
  grpc::ClientContext context;
  v1::ListAdaptersResponse page;
  ASSERT_TRUE(daemon.registry().ListAdapters(&context, {}, &page).ok());
  ASSERT_EQ(page.adapters_size(), 1);
  EXPECT_FALSE(page.adapters(0).has_inspection());
}

TEST_F(InspectionTest, TheUploadHasItMadeAndNobodyMakesItTwice) {
  TestDaemon daemon(WithPatience(kForever));
  const Digest digest = Register(daemon, "a", 1);
  daemon.inspector().AwaitCalls(1);  // Nobody has asked for it.
  EXPECT_TRUE(Get(daemon, "a").has_inspection());
  EXPECT_EQ(Register(daemon, "b", 1), digest);
  EXPECT_TRUE(Get(daemon, "b").has_inspection());
  EXPECT_EQ(daemon.inspector().num_calls(), 1);
}

TEST_F(InspectionTest, WhatIsDamagedIsMadeAgain) {
  TestDaemon daemon(WithPatience(kForever));
  const Digest digest = Register(daemon, "a", 1);
  EXPECT_TRUE(Get(daemon, "a").has_inspection());
  ASSERT_TRUE(
      daemon.store().inspections().Put(digest, "\x0a\xff nothing").ok());
  EXPECT_EQ(Get(daemon, "a").inspection().modules_size(), 1);
  EXPECT_EQ(daemon.inspector().num_calls(), 2);
  EXPECT_EQ(Get(daemon, "a").inspection().modules_size(), 1);
  EXPECT_EQ(daemon.inspector().num_calls(), 2);
}

TEST_F(InspectionTest, AHungOneHoldsUpNobody) {
  TestDaemon daemon(WithPatience(kForever));
  daemon.inspector().Hold();
  Register(daemon, "a", 1);
  daemon.inspector().AwaitCalls(1);
  // More than there are workers.
  std::atomic<int> num_whole = 0;
  std::vector<std::thread> readers;
  for (int i = 0; i < 8; ++i) {
    readers.emplace_back(
        [&] { num_whole += Get(daemon, "a").has_inspection() ? 1 : 0; });
  }
  for (uint64_t seed = 2; seed < 6; ++seed) {
    Register(daemon, absl::StrCat("b", seed), seed);
  }
  EXPECT_EQ(daemon.store().Stats().num_adapters, 5u);
  EXPECT_EQ(num_whole, 0);
  daemon.inspector().Release();
  for (std::thread& reader : readers) {
    reader.join();
  }
  EXPECT_EQ(num_whole, 8);
}

TEST_F(InspectionTest, WhoAsksWaitsForAWhileOnly) {
  TestDaemon daemon(WithPatience(absl::Milliseconds(20)));
  daemon.inspector().Hold();
  Register(daemon, "a", 1);
  const v1::Adapter adapter = Get(daemon, "a");
  EXPECT_EQ(adapter.name(), "a");
  EXPECT_EQ(adapter.max_rank(), 4u);
  EXPECT_FALSE(adapter.has_inspection());
}

TEST_F(InspectionTest, AnAdapterThatTakesTooLongIsNotTriedAgain) {
  TestDaemon daemon(WithPatience(kForever, absl::ZeroDuration()));
  daemon.inspector().Hold();
  const Digest digest = Register(daemon, "a", 1);
  EXPECT_FALSE(Get(daemon, "a").has_inspection());
  EXPECT_FALSE(Get(daemon, "a").has_inspection());
  EXPECT_EQ(daemon.inspector().num_calls(), 1);
  EXPECT_FALSE(IsStored(daemon, digest));
}

TEST_F(InspectionTest, OnlyErrorsThatMayPassAreTriedAgain) {
  TestDaemon daemon(WithPatience(kForever));
  daemon.inspector().FailWith(absl::UnavailableError("disk"));
  Register(daemon, "a", 1);
  EXPECT_FALSE(Get(daemon, "a").has_inspection());
  const int before = daemon.inspector().num_calls();
  EXPECT_FALSE(Get(daemon, "a").has_inspection());
  EXPECT_EQ(daemon.inspector().num_calls(), before + 1);
  daemon.inspector().FailWith(absl::InternalError("not finite"));
  EXPECT_FALSE(Get(daemon, "a").has_inspection());
  daemon.inspector().FailWith(absl::OkStatus());
  EXPECT_FALSE(Get(daemon, "a").has_inspection());
  EXPECT_EQ(daemon.inspector().num_calls(), before + 2);
}

TEST_F(InspectionTest, WhatIsPurgedMeanwhileLeavesNothing) {
  TestDaemon daemon(WithPatience(kForever));
  daemon.inspector().Hold();
  const Digest digest = Register(daemon, "a", 1);
  daemon.inspector().AwaitCalls(1);
  ASSERT_TRUE(daemon.store().Purge(*AdapterRef::Parse("a@1")).ok());
  daemon.store().WaitForSweep();
  daemon.inspector().Release();
  // One at a time: when b is done, so is a.
  Register(daemon, "b", 2);
  EXPECT_TRUE(Get(daemon, "b").has_inspection());
  EXPECT_FALSE(IsStored(daemon, digest));
}

TEST_F(InspectionTest, AFullQueueRefusesAtOnce) {
  TestDaemon::Options options = WithPatience(kForever);
  options.inspections.max_queued = 1;
  TestDaemon daemon(options);
  daemon.inspector().Hold();
  Register(daemon, "a", 1);
  daemon.inspector().AwaitCalls(1);
  Register(daemon, "b", 2);
  Register(daemon, "c", 3);
  EXPECT_FALSE(Get(daemon, "c").has_inspection());
  daemon.inspector().Release();
  EXPECT_TRUE(Get(daemon, "b").has_inspection());
  EXPECT_TRUE(Get(daemon, "c").has_inspection());
}

TEST_F(InspectionTest, StoppingEndsEveryWait) {
  TestDaemon daemon(WithPatience(kForever));
  FakeInspector inspector;
  inspector.Hold();
  std::atomic<int> num_ended = 0;
  {
    InspectionQueue queue(&inspector, &daemon.store().inspections(),
                          {.patience = kForever, .time_limit = kForever});
    for (const char* content : {"one", "one", "two"}) {
      queue.Get(Sha256::Of(content),
                [&](std::optional<v1::AdapterInspection> inspection) {
                  EXPECT_FALSE(inspection.has_value());
                  ++num_ended;
                });
    }
    inspector.AwaitCalls(1);
    EXPECT_EQ(num_ended, 0);
  }
  EXPECT_EQ(num_ended, 3);
  EXPECT_EQ(inspector.num_calls(), 1);
}

}  // namespace
}  // namespace stockpot
