// One Generate call and what the client saw of it.

#ifndef STOCKPOT_BENCH_GENERATE_CALL_H_
#define STOCKPOT_BENCH_GENERATE_CALL_H_

#include <functional>

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include "proto/stockpot/v1/generation.grpc.pb.h"

#include "bench/call_record.h"

namespace stockpot {

class GenerateCall final
    : public grpc::ClientReadReactor<stockpot::v1::GenerateResponse> {
 public:
  using Done = std::function<void(CallRecord record)>;

  // Starts the call. It ends by `timeout` and deletes itself after `done`,
  // which runs on a thread of gRPC. `start`: as CallRecord.start. `stub` is
  // borrowed until `done`.
  static void Start(stockpot::v1::GenerationService::Stub& stub,
                    stockpot::v1::GenerateRequest request, SteadyTime start,
                    std::chrono::nanoseconds timeout, Done done);

 private:
  GenerateCall(stockpot::v1::GenerateRequest request, SteadyTime start,
               Done done);

  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

  const stockpot::v1::GenerateRequest request_;
  const Done done_;
  grpc::ClientContext context_;
  stockpot::v1::GenerateResponse response_;
  CallRecord record_;
};

}  // namespace stockpot

#endif  // STOCKPOT_BENCH_GENERATE_CALL_H_
