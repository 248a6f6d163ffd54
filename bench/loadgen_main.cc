// stockpot-loadgen: asks a stockpotd for much and says how fast it answered.

#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include <grpcpp/create_channel.h>

#include "proto/stockpot/v1/admin.grpc.pb.h"

#include "base/status_macros.h"
#include "bench/arrival_process.h"
#include "bench/length_distribution.h"
#include "bench/load_driver.h"
#include "bench/load_report.h"
#include "bench/recipe_mix.h"
#include "bench/workload.h"

ABSL_FLAG(std::string, address, "localhost:50051", "Where stockpotd listens.");
ABSL_FLAG(int32_t, clients, 1,
          "Closed loop: so many clients, each with one call at a time.");
ABSL_FLAG(int64_t, requests, 16, "Measured requests, all clients together.");
ABSL_FLAG(int64_t, warmup, 0,
          "Requests before them, in a closed loop, that are not measured.");
ABSL_FLAG(double, rate, 0,
          "Open loop: requests per second, whatever is still running. "
          "0: closed loop.");
ABSL_FLAG(double, burstiness, 1,
          "Open loop: coefficient of variation of the gaps between requests; "
          "0: a metronome, 1: a Poisson process.");
ABSL_FLAG(std::string, prompt_tokens, "fixed:64",
          "fixed:N, uniform:LOW-HIGH or lognormal:MEDIAN,SIGMA,MAX.");
ABSL_FLAG(std::string, output_tokens, "fixed:64",
          "As --prompt_tokens; answers never end earlier.");
ABSL_FLAG(std::vector<std::string>, skills, {},
          "Adapters to mix, \"name\" or \"name@version\". Empty: the base "
          "model alone.");
ABSL_FLAG(int32_t, skills_per_recipe, 1, "Skills in each recipe.");
ABSL_FLAG(int32_t, num_recipes, 1, "Different recipes over --skills.");
ABSL_FLAG(std::string, popularity, "uniform",
          "Which recipe a request takes: uniform, zipf:EXPONENT, identical "
          "(always the first) or distinct (in turn).");
ABSL_FLAG(double, weight, 1, "Weight of each skill.");
ABSL_FLAG(uint32_t, vocabulary, 256,
          "Prompts are random ids below this; the model must have as many.");
ABSL_FLAG(uint32_t, first_token_id, 0, "... and not below this.");
ABSL_FLAG(double, temperature, 0, "0: greedy.");
ABSL_FLAG(uint64_t, seed, 0, "Equal seeds send equal requests.");
ABSL_FLAG(absl::Duration, timeout, absl::Minutes(10), "Of one call.");
ABSL_FLAG(std::string, json, "", "Also write the figures to this file.");

namespace stockpot {
namespace {

absl::StatusOr<WorkloadOptions> WorkloadFromFlags() {
  if (absl::GetFlag(FLAGS_first_token_id) >= absl::GetFlag(FLAGS_vocabulary)) {
    return absl::InvalidArgumentError(
        "--first_token_id must be below --vocabulary");
  }
  ASSIGN_OR_RETURN(
      const LengthDistribution prompt,
      LengthDistribution::Parse(absl::GetFlag(FLAGS_prompt_tokens)));
  ASSIGN_OR_RETURN(
      const LengthDistribution output,
      LengthDistribution::Parse(absl::GetFlag(FLAGS_output_tokens)));
  ASSIGN_OR_RETURN(
      RecipeMix recipes,
      RecipeMix::Make(
          {.skills = absl::GetFlag(FLAGS_skills),
           .skills_per_recipe = absl::GetFlag(FLAGS_skills_per_recipe),
           .num_recipes = absl::GetFlag(FLAGS_num_recipes),
           .popularity = absl::GetFlag(FLAGS_popularity),
           .seed = absl::GetFlag(FLAGS_seed)}));
  return WorkloadOptions{
      .prompt_length = prompt,
      .output_length = output,
      .recipes = std::move(recipes),
      .skill_weight = static_cast<float>(absl::GetFlag(FLAGS_weight)),
      .first_token_id = absl::GetFlag(FLAGS_first_token_id),
      .vocabulary = absl::GetFlag(FLAGS_vocabulary),
      .temperature = static_cast<float>(absl::GetFlag(FLAGS_temperature)),
      .seed = absl::GetFlag(FLAGS_seed)};
}

absl::StatusOr<stockpot::v1::ServerInfo> FetchServerInfo(
    const std::shared_ptr<grpc::Channel>& channel) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::seconds(10));
  stockpot::v1::ServerInfo info;
  const grpc::Status status =
      stockpot::v1::AdminService::NewStub(channel)->GetServerInfo(
          &context, stockpot::v1::GetServerInfoRequest(), &info);
  if (!status.ok()) {
    return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                        absl::StrCat(absl::GetFlag(FLAGS_address), ": ",
                                     status.error_message()));
  }
  return info;
}

absl::Status CheckFlags() {
  if (absl::GetFlag(FLAGS_clients) < 1 || absl::GetFlag(FLAGS_clients) > 4096) {
    return absl::InvalidArgumentError("--clients: expected 1..4096");
  }
  if (absl::GetFlag(FLAGS_requests) < 1 || absl::GetFlag(FLAGS_warmup) < 0) {
    return absl::InvalidArgumentError(
        "--requests: expected 1 or more; --warmup: 0 or more");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<CallRecord>> RunLoad(
    const std::shared_ptr<grpc::Channel>& channel, const Workload& workload) {
  const int32_t num_clients = absl::GetFlag(FLAGS_clients);
  const int64_t num_requests = absl::GetFlag(FLAGS_requests);
  LoadDriver driver(channel, workload, absl::GetFlag(FLAGS_timeout));
  if (const int64_t warmup = absl::GetFlag(FLAGS_warmup); warmup > 0) {
    // Prompts of their own, so that no prefix cache knows the measured ones.
    driver.RunClosed(num_requests, warmup, num_clients);
  }
  if (absl::GetFlag(FLAGS_rate) == 0) {
    return driver.RunClosed(0, num_requests, num_clients);
  }
  ASSIGN_OR_RETURN(const ArrivalProcess arrivals,
                   ArrivalProcess::Make(absl::GetFlag(FLAGS_rate),
                                        absl::GetFlag(FLAGS_burstiness),
                                        absl::GetFlag(FLAGS_seed)));
  return driver.RunOpen(0, num_requests, arrivals);
}

absl::Status WriteJson(const stockpot::v1::ServerInfo& info,
                       const LoadReport& report) {
  nlohmann::ordered_json json = ToJson(report);
  json["server"] = {{"version", info.version()},
                    {"base_model", info.base_model()},
                    {"architecture", info.architecture()},
                    {"dtype", info.dtype()},
                    {"device", info.device()}};
  std::ofstream file(absl::GetFlag(FLAGS_json));
  file << json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace)
       << "\n";
  if (!file.flush()) {
    return absl::UnavailableError(
        absl::StrCat(absl::GetFlag(FLAGS_json), " cannot be written"));
  }
  return absl::OkStatus();
}

absl::Status Run() {
  RETURN_IF_ERROR(CheckFlags());
  ASSIGN_OR_RETURN(WorkloadOptions options, WorkloadFromFlags());
  const Workload workload(std::move(options));
  const auto channel = grpc::CreateChannel(absl::GetFlag(FLAGS_address),
                                           grpc::InsecureChannelCredentials());
  ASSIGN_OR_RETURN(const stockpot::v1::ServerInfo info,
                   FetchServerInfo(channel));
  ASSIGN_OR_RETURN(const std::vector<CallRecord> calls,
                   RunLoad(channel, workload));
  const bool open = absl::GetFlag(FLAGS_rate) != 0;
  const LoadReport report =
      MakeLoadReport(calls, open ? 0 : absl::GetFlag(FLAGS_clients));
  std::cout << info.architecture() << ", " << info.dtype() << ", "
            << info.device() << "\n"
            << FormatTable(report) << std::flush;
  if (!absl::GetFlag(FLAGS_json).empty()) {
    RETURN_IF_ERROR(WriteJson(info, report));
  }
  if (!report.num_errors.empty()) {
    return absl::UnknownError("some calls failed; see the table");
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace stockpot

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "sends Generate calls to a stockpotd and prints throughput, time to "
      "first token and time per token.\n"
      "  stockpot-loadgen --clients=8 --requests=64 --skills=a,b,c "
      "--skills_per_recipe=2 --num_recipes=3 --popularity=distinct\n"
      "Exit code: 0; 1 if anything failed, also a single call.");
  absl::ParseCommandLine(argc, argv);
  if (const absl::Status status = stockpot::Run(); !status.ok()) {
    std::cerr << "stockpot-loadgen: " << status.message() << "\n";
    return 1;
  }
  return 0;
}
