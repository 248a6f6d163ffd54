#include "bench/load_driver.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "bench/generate_call.h"

namespace stockpot {

// What the threads of gRPC and the caller's write to.
struct LoadDriver::Shared {
  Mutex mutex;
  CondVar changed;
  std::vector<CallRecord> records ABSL_GUARDED_BY(mutex);
  int64_t next ABSL_GUARDED_BY(mutex) = 0;
  int64_t end ABSL_GUARDED_BY(mutex) = 0;
};

LoadDriver::LoadDriver(const std::shared_ptr<grpc::Channel>& channel,
                       const Workload& workload, absl::Duration timeout)
    : workload_(workload),
      timeout_(absl::ToChronoNanoseconds(timeout)),
      stub_(stockpot::v1::GenerationService::NewStub(channel)),
      shared_(std::make_unique<Shared>()) {}

LoadDriver::~LoadDriver() = default;

void LoadDriver::Start(int64_t index, SteadyTime start, bool refill) {
  GenerateCall::Start(*stub_, workload_.Request(index), start, timeout_,
                      [this, refill](CallRecord record) {
                        int64_t next = -1;
                        {
                          const MutexLock lock(&shared_->mutex);
                          if (refill && shared_->next < shared_->end) {
                            next = shared_->next++;
                          }
                          shared_->records.push_back(std::move(record));
                          // Under the lock: once it is free, the driver may be
                          // gone.
                          shared_->changed.SignalAll();
                        }
                        if (next >= 0) {
                          Start(next, std::chrono::steady_clock::now(), true);
                        }
                      });
}

std::vector<CallRecord> LoadDriver::WaitForAll(int64_t num_requests) {
  const MutexLock lock(&shared_->mutex);
  while (static_cast<int64_t>(shared_->records.size()) < num_requests) {
    shared_->changed.Wait(&shared_->mutex);
  }
  return std::exchange(shared_->records, {});
}

std::vector<CallRecord> LoadDriver::RunClosed(int64_t first,
                                              int64_t num_requests,
                                              int32_t num_clients) {
  const int64_t at_once = std::min<int64_t>(num_clients, num_requests);
  {
    const MutexLock lock(&shared_->mutex);
    shared_->next = first + at_once;
    shared_->end = first + num_requests;
  }
  for (int64_t i = 0; i < at_once; ++i) {
    Start(first + i, std::chrono::steady_clock::now(), true);
  }
  return WaitForAll(num_requests);
}

std::vector<CallRecord> LoadDriver::RunOpen(int64_t first, int64_t num_requests,
                                            ArrivalProcess arrivals) {
  SteadyTime due = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < num_requests; ++i) {
    std::this_thread::sleep_until(due);
    Start(first + i, due, false);
    due += absl::ToChronoNanoseconds(arrivals.Next());
  }
  return WaitForAll(num_requests);
}

}  // namespace stockpot
