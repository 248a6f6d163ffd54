#include "client/command_adapters.h"

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include <grpcpp/client_context.h>

#include "proto/stockpot/v1/registry.grpc.pb.h"

#include "base/status_macros.h"
#include "client/adapter_text.h"
#include "client/inspection_text.h"
#include "client/json_text.h"
#include "client/table.h"
#include "client/text.h"

namespace stockpot {
namespace {

constexpr int kPageSize = 100;

// Enough to tell adapters apart; `show` has all of it.
constexpr size_t kShortDigest = 12;

absl::StatusOr<v1::Adapter> GetAdapter(const std::string& adapter,
                                       const Connection& connection) {
  const auto stub = v1::RegistryService::NewStub(connection.channel());
  v1::GetAdapterRequest request;
  request.set_adapter(adapter);
  v1::Adapter response;
  RETURN_IF_ERROR(connection.Call([&](grpc::ClientContext* context) {
    return stub->GetAdapter(context, request, &response);
  }));
  return response;
}

// Calls `consume` with every adapter of every page.
absl::Status ForEachAdapter(
    v1::ListAdaptersRequest request, const Connection& connection,
    const std::function<void(const v1::Adapter&)>& consume) {
  const auto stub = v1::RegistryService::NewStub(connection.channel());
  while (true) {
    v1::ListAdaptersResponse response;
    RETURN_IF_ERROR(connection.Call([&](grpc::ClientContext* context) {
      return stub->ListAdapters(context, request, &response);
    }));
    for (const v1::Adapter& adapter : response.adapters()) {
      consume(adapter);
    }
    if (response.next_page_token().empty()) {
      return absl::OkStatus();
    }
    if (response.next_page_token() == request.page_token()) {
      return absl::InternalError("the server answers the same page again");
    }
    request.set_page_token(response.next_page_token());
  }
}

// Errors: InvalidArgument.
absl::StatusOr<google::protobuf::Timestamp> ParseDay(const std::string& option,
                                                     const std::string& text) {
  absl::Time time;
  std::string error;
  if (!absl::ParseTime("%Y-%m-%d", text, absl::UTCTimeZone(), &time, &error)) {
    return absl::InvalidArgumentError(absl::StrCat(
        option, " '", text, "': expected a day, as in 2026-11-21"));
  }
  google::protobuf::Timestamp out;
  out.set_seconds(absl::ToUnixSeconds(time));
  return out;
}

absl::Status FillFilter(const ListAdaptersOptions& options,
                        v1::AdapterFilter& filter) {
  filter.set_min_rank(options.min_rank);
  filter.set_max_rank(options.max_rank);
  filter.set_min_size_bytes(options.min_bytes);
  filter.set_max_size_bytes(options.max_bytes);
  if (!options.since.empty()) {
    ASSIGN_OR_RETURN(*filter.mutable_created_from(),
                     ParseDay("--since", options.since));
  }
  if (!options.before.empty()) {
    ASSIGN_OR_RETURN(*filter.mutable_created_before(),
                     ParseDay("--before", options.before));
  }
  filter.mutable_target_modules()->Add(options.targets.begin(),
                                       options.targets.end());
  filter.set_base_model(options.base_model);
  filter.set_text(options.text);
  return absl::OkStatus();
}

}  // namespace

absl::Status RunList(const ListAdaptersOptions& options,
                     const Connection& connection, Terminal& terminal) {
  v1::ListAdaptersRequest request;
  request.set_page_size(kPageSize);
  request.set_name_prefix(options.prefix);
  request.set_all_versions(options.all_versions);
  request.set_deleted(options.deleted);
  RETURN_IF_ERROR(FillFilter(options, *request.mutable_filter()));
  for (const std::string& label : options.labels) {
    ASSIGN_OR_RETURN(const auto pair, ParseKeyValue(label));
    (*request.mutable_labels())[pair.first] = pair.second;
  }
  if (options.json) {
    return ForEachAdapter(
        std::move(request), connection, [&](const v1::Adapter& adapter) {
          terminal.out << ToLine(ToJson(adapter, /*with_text=*/false)) << '\n';
        });
  }
  Table table({"NAME", "VERSION", "ALIASES", "RANK", "SIZE", "DIGEST",
               "CREATED", "LABELS"},
              {false, true, false, true, true, false, false, false});
  int num_rows = 0;
  RETURN_IF_ERROR(ForEachAdapter(
      std::move(request), connection, [&](const v1::Adapter& adapter) {
        ++num_rows;
        table.AddRow({adapter.name(), absl::StrCat(adapter.version()),
                      absl::StrJoin(adapter.aliases(), ","), RankText(adapter),
                      FormatBytes(adapter.size_bytes()),
                      adapter.digest().substr(0, kShortDigest),
                      TimeText(adapter.create_time()), LabelText(adapter)});
      }));
  if (num_rows == 0) {
    terminal.err << (options.deleted
                         ? "nothing is deleted that could come back\n"
                         : "no adapters; `stockpot register DIR` adds one\n");
    return absl::OkStatus();
  }
  table.Print(terminal.out);
  return absl::OkStatus();
}

absl::Status RunShow(const ShowOptions& options, const Connection& connection,
                     Terminal& terminal) {
  ASSIGN_OR_RETURN(const v1::Adapter adapter,
                   GetAdapter(options.adapter, connection));
  if (options.json) {
    terminal.out << ToLine(ToJson(adapter, /*with_text=*/true)) << '\n';
    return absl::OkStatus();
  }
  Table table({"name", adapter.name()});
  table.AddRow({"version", absl::StrCat(adapter.version())});
  table.AddRow({"aliases", absl::StrJoin(adapter.aliases(), ", ")});
  table.AddRow({"digest", adapter.digest()});
  table.AddRow(
      {"size", absl::StrCat(FormatBytes(adapter.size_bytes()), " (",
                            adapter.num_parameters(), " parameters)")});
  table.AddRow({"type", adapter.peft_type()});
  table.AddRow({"rank", RankText(adapter)});
  if (adapter.kept_energy() < 1) {
    table.AddRow({"kept energy",
                  absl::StrFormat("%.2f %%", 100 * adapter.kept_energy())});
  }
  table.AddRow({"targets", absl::StrJoin(adapter.target_modules(), ", ")});
  table.AddRow({"base model", adapter.base_model()});
  table.AddRow({"created", TimeText(adapter.create_time())});
  table.AddRow({"license", adapter.license()});
  table.AddRow({"signer", adapter.signer()});
  table.AddRow({"training", TrainingText(adapter)});
  table.AddRow({"labels", LabelText(adapter)});
  table.AddRow({"description", adapter.description()});
  table.Print(terminal.out);
  if (adapter.has_inspection()) {
    terminal.out << '\n';
    PrintInspection(adapter.inspection(), options.all_modules, terminal.out);
  }
  if (!adapter.card().empty()) {
    terminal.out << '\n' << PrintableText(adapter.card()) << '\n';
  }
  return absl::OkStatus();
}

absl::Status RunRemove(const RemoveOptions& options,
                       const Connection& connection, Terminal& terminal) {
  // An alias may move meanwhile: what is asked about is what goes.
  const absl::StatusOr<v1::Adapter> adapter =
      GetAdapter(options.adapter, connection);
  // A deleted one is purged by the name that was given.
  if (!adapter.ok() && !(options.purge && absl::IsNotFound(adapter.status()))) {
    return adapter.status();
  }
  const std::string name =
      adapter.ok() ? VersionedName(*adapter) : options.adapter;
  if (!options.yes) {
    terminal.err << (options.purge ? "purge " : "delete ")
                 << PrintableText(name);
    if (adapter.ok()) {
      terminal.err << " (" << FormatBytes(adapter->size_bytes()) << ")";
    }
    terminal.err << "? [y/N] " << std::flush;
    std::string answer;
    std::getline(terminal.in, answer);
    if (answer != "y" && answer != "Y" && answer != "yes") {
      return absl::CancelledError("nothing was deleted");
    }
  }
  const auto stub = v1::RegistryService::NewStub(connection.channel());
  v1::DeleteAdapterRequest request;
  request.set_adapter(name);
  request.set_purge(options.purge);
  v1::DeleteAdapterResponse response;
  RETURN_IF_ERROR(connection.Call([&](grpc::ClientContext* context) {
    return stub->DeleteAdapter(context, request, &response);
  }));
  terminal.out << JoinCells({absl::StrCat(
                      options.purge ? "purged " : "deleted ", name)})
               << '\n';
  if (response.has_purge_time()) {
    terminal.err << "until " << TimeText(response.purge_time())
                 << ", `stockpot undelete " << PrintableText(name)
                 << "` brings it back\n";
  }
  return absl::OkStatus();
}

absl::Status RunUndelete(const UndeleteOptions& options,
                         const Connection& connection, Terminal& terminal) {
  const auto stub = v1::RegistryService::NewStub(connection.channel());
  v1::UndeleteAdapterRequest request;
  request.set_adapter(options.adapter);
  v1::Adapter response;
  RETURN_IF_ERROR(connection.Call([&](grpc::ClientContext* context) {
    return stub->UndeleteAdapter(context, request, &response);
  }));
  terminal.out << JoinCells(
                      {absl::StrCat("restored ", VersionedName(response))})
               << '\n';
  return absl::OkStatus();
}

absl::Status RunAlias(const AliasOptions& options, const Connection& connection,
                      Terminal& terminal) {
  const auto stub = v1::RegistryService::NewStub(connection.channel());
  const std::string alias = absl::StrCat(options.name, "@", options.alias);
  if (options.remove) {
    v1::DeleteAliasRequest request;
    request.set_name(options.name);
    request.set_alias(options.alias);
    v1::DeleteAliasResponse response;
    RETURN_IF_ERROR(connection.Call([&](grpc::ClientContext* context) {
      return stub->DeleteAlias(context, request, &response);
    }));
    terminal.out << "removed " << alias << '\n';
    return absl::OkStatus();
  }
  v1::SetAliasRequest request;
  request.set_name(options.name);
  request.set_alias(options.alias);
  request.set_version(options.version);
  v1::Adapter response;
  RETURN_IF_ERROR(connection.Call([&](grpc::ClientContext* context) {
    return stub->SetAlias(context, request, &response);
  }));
  terminal.out << alias << " -> " << options.name << "@" << options.version
               << '\n';
  return absl::OkStatus();
}

}  // namespace stockpot
