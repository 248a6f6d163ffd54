// LoadDriver against a server in this process that answers without a model.

#include "bench/load_driver.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include "base/mutex.h"
#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using stockpot::v1::GenerateRequest;
using stockpot::v1::GenerateResponse;

// Sends as many tokens as asked for, a millisecond apart; every fourth call is
// refused. Counts what it sees.
class CountingService final : public stockpot::v1::GenerationService::Service {
 public:
  grpc::Status Generate(grpc::ServerContext*, const GenerateRequest* request,
                        grpc::ServerWriter<GenerateResponse>* writer) override {
    {
      const MutexLock lock(&mutex_);
      seeds_.insert(request->sampling().seed());
      most_ = std::max(most_, ++running_);
    }
    grpc::Status status;
    if (request->sampling().seed() % 4 == 3) {
      status = {grpc::StatusCode::RESOURCE_EXHAUSTED, "queue full"};
    } else {
      for (uint32_t i = 0; i < request->limits().max_new_tokens(); ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        GenerateResponse response;
        response.mutable_delta()->add_tokens()->set_id(i);
        writer->Write(response);
      }
      GenerateResponse last;
      last.mutable_finish();
      writer->Write(last);
    }
    const MutexLock lock(&mutex_);
    --running_;
    return status;
  }

  // Most calls at one time.
  int most() {
    const MutexLock lock(&mutex_);
    return most_;
  }
  std::set<uint64_t> seeds() {
    const MutexLock lock(&mutex_);
    return seeds_;
  }

 private:
  Mutex mutex_;
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
  int most_ ABSL_GUARDED_BY(mutex_) = 0;
  std::set<uint64_t> seeds_ ABSL_GUARDED_BY(mutex_);
};

class LoadDriverTest : public ::testing::Test {
 protected:
  LoadDriverTest()
      : workload_({.prompt_length = *LengthDistribution::Parse("fixed:4"),
                   .output_length = *LengthDistribution::Parse("fixed:5"),
                   .recipes = *RecipeMix::Make({})}) {
    grpc::ServerBuilder builder;
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    driver_ = std::make_unique<LoadDriver>(
        server_->InProcessChannel(grpc::ChannelArguments()), workload_,
        absl::Seconds(30));
  }

  CountingService service_;
  const Workload workload_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<LoadDriver> driver_;
};

TEST_F(LoadDriverTest, ClosedLoopSendsEachRequestOnceAndKeepsItsClients) {
  const std::vector<CallRecord> calls = driver_->RunClosed(8, 12, 3);
  EXPECT_EQ(calls.size(), 12u);
  EXPECT_EQ(service_.seeds().size(), 12u);
  EXPECT_EQ(*service_.seeds().begin(), 8u);
  EXPECT_EQ(*service_.seeds().rbegin(), 19u);
  EXPECT_LE(service_.most(), 3);
  EXPECT_GE(service_.most(), 2);
}

TEST_F(LoadDriverTest, RecordsTellWhatTheClientSaw) {
  const std::vector<CallRecord> calls = driver_->RunClosed(0, 8, 1);
  int refused = 0;
  for (const CallRecord& call : calls) {
    EXPECT_EQ(call.prompt_tokens, 4);
    EXPECT_LE(call.start, call.end);
    if (call.code == absl::StatusCode::kResourceExhausted) {
      ++refused;
      EXPECT_TRUE(call.arrivals.empty());
      continue;
    }
    EXPECT_EQ(call.code, absl::StatusCode::kOk);
    ASSERT_EQ(call.arrivals.size(), 5u);
    EXPECT_GE(SecondsBetween(call.start, call.arrivals[0].time), 0.001);
    EXPECT_GE(SecondsBetween(call.start, call.end), 0.005);
  }
  EXPECT_EQ(refused, 2);
}

TEST_F(LoadDriverTest, FewerRequestsThanClientsStillEnd) {
  EXPECT_EQ(driver_->RunClosed(0, 2, 5).size(), 2u);
}

TEST_F(LoadDriverTest, OpenLoopDoesNotWaitForAnswers) {
  // Calls of 5 ms and more, one every half millisecond.
  const auto arrivals = ArrivalProcess::Make(2000, 0, 0);
  ASSERT_THAT(arrivals, testing::IsOk());
  const std::vector<CallRecord> calls = driver_->RunOpen(0, 40, *arrivals);
  ASSERT_EQ(calls.size(), 40u);
  EXPECT_GE(service_.most(), 3);
  const auto [first, last] = std::minmax_element(
      calls.begin(), calls.end(), [](const CallRecord& a, const CallRecord& b) {
        return a.start < b.start;
      });
  EXPECT_NEAR(SecondsBetween(first->start, last->start), 39 * 0.0005, 1e-6);
}

}  // namespace
}  // namespace stockpot
