// Keeps calls in flight: a closed loop of clients, or an open loop of arrivals.

#ifndef STOCKPOT_BENCH_LOAD_DRIVER_H_
#define STOCKPOT_BENCH_LOAD_DRIVER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include <grpcpp/channel.h>

#include "proto/stockpot/v1/generation.grpc.pb.h"

#include "bench/arrival_process.h"
#include "bench/call_record.h"
#include "bench/workload.h"

namespace stockpot {

class LoadDriver {
 public:
  // `workload` is borrowed. Each call ends by `timeout`.
  LoadDriver(const std::shared_ptr<grpc::Channel>& channel,
             const Workload& workload, absl::Duration timeout);
  ~LoadDriver();
  LoadDriver(const LoadDriver&) = delete;
  LoadDriver& operator=(const LoadDriver&) = delete;

  // Sends requests first..first + num_requests - 1, of which `num_clients` are
  // in flight until the last ones run out, and returns when all have ended.
  // Records stand in the order in which the calls ended.
  // REQUIRES: num_clients >= 1.
  std::vector<CallRecord> RunClosed(int64_t first, int64_t num_requests,
                                    int32_t num_clients);

  // Sends them when `arrivals` says, whatever is still in flight.
  std::vector<CallRecord> RunOpen(int64_t first, int64_t num_requests,
                                  ArrivalProcess arrivals);

 private:
  struct Shared;

  // Starts request `index`; when it ends, `refill` starts the next one.
  void Start(int64_t index, SteadyTime start, bool refill);
  std::vector<CallRecord> WaitForAll(int64_t num_requests);

  const Workload& workload_;
  const std::chrono::nanoseconds timeout_;
  const std::unique_ptr<stockpot::v1::GenerationService::Stub> stub_;
  const std::unique_ptr<Shared> shared_;
};

}  // namespace stockpot

#endif  // STOCKPOT_BENCH_LOAD_DRIVER_H_
