#include "client/command_server.h"

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <grpcpp/client_context.h>

#include "proto/grpc/health/v1/health.grpc.pb.h"
#include "proto/stockpot/v1/admin.grpc.pb.h"

#include "base/status_macros.h"
#include "client/json_text.h"
#include "client/table.h"
#include "client/text.h"

namespace stockpot {
namespace {

// "SERVING", "NOT_SERVING", ...
absl::StatusOr<std::string> CheckHealth(const std::string& service,
                                        const Connection& connection) {
  const auto stub = grpc::health::v1::Health::NewStub(connection.channel());
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(service);
  grpc::health::v1::HealthCheckResponse response;
  RETURN_IF_ERROR(connection.Call([&](grpc::ClientContext* context) {
    return stub->Check(context, request, &response);
  }));
  return grpc::health::v1::HealthCheckResponse::ServingStatus_Name(
      response.status());
}

}  // namespace

absl::Status RunInfo(const InfoOptions& options, const Connection& connection,
                     Terminal& terminal) {
  ASSIGN_OR_RETURN(const std::string health, CheckHealth("", connection));
  const auto stub = v1::AdminService::NewStub(connection.channel());
  v1::ServerInfo info;
  const absl::Status status =
      connection.Call([&](grpc::ClientContext* context) {
        return stub->GetServerInfo(context, v1::GetServerInfoRequest(), &info);
      });
  if (!status.ok()) {
    return absl::Status(status.code(), absl::StrCat(status.message(),
                                                    " (health: ", health, ")"));
  }
  if (options.json) {
    Json json = ToJson(info);
    json["address"] = connection.address();
    json["health"] = health;
    terminal.out << ToLine(json) << '\n';
    return absl::OkStatus();
  }
  Table table({"address", connection.address()});
  table.AddRow({"health", health});
  table.AddRow({"version", info.version()});
  table.AddRow({"base model", info.base_model()});
  table.AddRow({"digest", info.base_model_digest()});
  table.AddRow({"architecture", info.architecture()});
  table.AddRow({"dtype", info.dtype()});
  table.AddRow({"device", info.device()});
  table.AddRow({"context", absl::StrCat(info.context_tokens(), " tokens")});
  table.AddRow({"vocabulary", absl::StrCat(info.vocabulary_size(), " tokens")});
  table.AddRow({"KV cache", absl::StrCat(info.kv_cache_tokens(), " tokens")});
  table.AddRow(
      {"sequences", absl::StrCat(info.max_running_sequences(), " at once")});
  table.AddRow({"methods", absl::StrJoin(info.methods(), ", ")});
  table.AddRow({"adapters", absl::StrJoin(info.peft_types(), ", ")});
  const v1::RegistryStatus& registry = info.registry();
  table.AddRow({"registry", absl::StrCat(registry.num_adapters(), " adapters, ",
                                         registry.num_recipes(), " recipes, ",
                                         FormatBytes(registry.bytes()))});
  table.AddRow({"writable", registry.writable()
                                ? "yes"
                                : "no: its disk failed or is full"});
  table.AddRow({"damaged", absl::StrCat(registry.num_damaged(), " adapters")});
  const std::string verified = TimeText(registry.last_verify_time());
  table.AddRow(
      {"verified", verified.empty() ? "not since the start" : verified});
  table.Print(terminal.out);
  return absl::OkStatus();
}

absl::Status RunHealth(const HealthOptions& options,
                       const Connection& connection, Terminal& terminal) {
  ASSIGN_OR_RETURN(const std::string health,
                   CheckHealth(options.service, connection));
  terminal.out << health << '\n';
  if (health != "SERVING") {
    return absl::UnavailableError(
        absl::StrCat(options.service.empty() ? "the server" : options.service,
                     " says ", health));
  }
  return absl::OkStatus();
}

}  // namespace stockpot
