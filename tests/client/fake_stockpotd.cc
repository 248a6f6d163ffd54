#include "tests/client/fake_stockpotd.h"

#include <algorithm>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include "client/command_line.h"
#include "client/terminal.h"

namespace stockpot::testing {
namespace {

constexpr size_t kPage = 2;

std::string VersionOf(const v1::Adapter& adapter) {
  return absl::StrCat(adapter.name(), "@", adapter.version());
}

grpc::Status NotFound(const std::string& what) {
  return grpc::Status(grpc::StatusCode::NOT_FOUND,
                      absl::StrCat("no adapter '", what, "'"));
}

// Version 1 of what `request` saves, its adapters' versions all 1.
v1::SavedRecipe Saved(const v1::SaveRecipeRequest& request) {
  v1::SavedRecipe recipe;
  recipe.set_name(request.name());
  recipe.set_version(1);
  *recipe.mutable_recipe() = request.recipe();
  *recipe.mutable_labels() = request.labels();
  recipe.set_description(request.description());
  recipe.mutable_resolved()->set_method("cat");
  recipe.mutable_resolved()->set_digest("d1ge57");
  for (const v1::Skill& skill : request.recipe().skills()) {
    v1::ResolvedSkill* resolved = recipe.mutable_resolved()->add_skills();
    resolved->set_name(skill.adapter());
    resolved->set_version(1);
    resolved->set_weight(skill.weight());
  }
  return recipe;
}

}  // namespace

grpc::Status FakeRegistry::RegisterAdapter(
    grpc::ServerContext* /*context*/,
    grpc::ServerReader<v1::RegisterAdapterRequest>* reader,
    v1::RegisterAdapterResponse* response) {
  if (!upload_status.ok()) {
    return upload_status;  // Without reading on, as a server in distress.
  }
  v1::RegisterAdapterRequest request;
  std::vector<v1::RegisterAdapterRequest> received;
  while (reader->Read(&request)) {
    received.push_back(request);
  }
  const v1::AdapterMetadata& metadata = received.at(0).metadata();
  if (const grpc::Status status =
          on_upload ? on_upload(metadata) : grpc::Status::OK;
      !status.ok()) {
    return status;
  }
  MutexLock lock(&mu_);
  upload.insert(upload.end(), received.begin(), received.end());
  v1::Adapter* adapter = response->mutable_adapter();
  adapter->set_name(metadata.name());
  adapter->set_version(metadata.has_version() ? metadata.version() : 1);
  adapter->set_digest(metadata.sha256());
  adapter->set_size_bytes(metadata.size_bytes());
  adapter->set_min_rank(4);
  adapter->set_max_rank(8);
  adapter->add_target_modules("q_proj");
  adapter->add_target_modules("v_proj");
  adapters.push_back(*adapter);
  return grpc::Status::OK;
}

grpc::Status FakeRegistry::GetAdapter(grpc::ServerContext* /*context*/,
                                      const v1::GetAdapterRequest* request,
                                      v1::Adapter* response) {
  for (const v1::Adapter& adapter : adapters) {
    bool is_meant = request->adapter() == adapter.name() ||
                    request->adapter() == VersionOf(adapter);
    for (const std::string& alias : adapter.aliases()) {
      is_meant |=
          request->adapter() == absl::StrCat(adapter.name(), "@", alias);
    }
    if (is_meant) {
      *response = adapter;
      return grpc::Status::OK;
    }
  }
  return NotFound(request->adapter());
}

grpc::Status FakeRegistry::ListAdapters(grpc::ServerContext* /*context*/,
                                        const v1::ListAdaptersRequest* request,
                                        v1::ListAdaptersResponse* response) {
  lists.push_back(*request);
  size_t begin = 0;
  if (!request->page_token().empty() &&
      !absl::SimpleAtoi(request->page_token(), &begin)) {
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "page_token");
  }
  const size_t end = std::min(adapters.size(), begin + kPage);
  for (size_t i = begin; i < end; ++i) {
    *response->add_adapters() = adapters[i];
  }
  if (end < adapters.size()) {
    response->set_next_page_token(absl::StrCat(end));
  }
  return grpc::Status::OK;
}

grpc::Status FakeRegistry::DownloadAdapter(
    grpc::ServerContext* /*context*/, const v1::DownloadAdapterRequest* request,
    grpc::ServerWriter<v1::DownloadAdapterResponse>* writer) {
  if (download.empty()) {
    return NotFound(request->adapter());
  }
  for (const v1::DownloadAdapterResponse& response : download) {
    writer->Write(response);
  }
  return grpc::Status::OK;
}

grpc::Status FakeRegistry::SetAlias(grpc::ServerContext* /*context*/,
                                    const v1::SetAliasRequest* request,
                                    v1::Adapter* response) {
  MutexLock lock(&mu_);
  set_aliases.push_back(*request);
  for (v1::Adapter& adapter : adapters) {
    if (adapter.name() == request->name() &&
        adapter.version() == request->version()) {
      adapter.add_aliases(request->alias());
      *response = adapter;
      return grpc::Status::OK;
    }
  }
  return NotFound(request->name());
}

grpc::Status FakeRegistry::DeleteAlias(grpc::ServerContext* /*context*/,
                                       const v1::DeleteAliasRequest* request,
                                       v1::DeleteAliasResponse* /*response*/) {
  deleted_aliases.push_back(*request);
  return grpc::Status::OK;
}

grpc::Status FakeRegistry::DeleteAdapter(
    grpc::ServerContext* /*context*/, const v1::DeleteAdapterRequest* request,
    v1::DeleteAdapterResponse* response) {
  if (request->purge()) {
    purged.push_back(request->adapter());
    return grpc::Status::OK;
  }
  deleted.push_back(request->adapter());
  response->mutable_purge_time()->set_seconds(1'700'000'000);
  return grpc::Status::OK;
}

grpc::Status FakeRegistry::UndeleteAdapter(
    grpc::ServerContext* /*context*/, const v1::UndeleteAdapterRequest* request,
    v1::Adapter* response) {
  undeleted.push_back(request->adapter());
  response->set_name("facts");
  response->set_version(2);
  return grpc::Status::OK;
}

grpc::Status FakeRegistry::SaveRecipe(grpc::ServerContext* /*context*/,
                                      const v1::SaveRecipeRequest* request,
                                      v1::SavedRecipe* response) {
  saves.push_back(*request);
  *response = Saved(*request);
  return grpc::Status::OK;
}

grpc::Status FakeRegistry::GetRecipe(grpc::ServerContext* /*context*/,
                                     const v1::GetRecipeRequest* request,
                                     v1::SavedRecipe* response) {
  for (const v1::SaveRecipeRequest& save : saves) {
    if (request->name() == save.name() ||
        request->name() == absl::StrCat(save.name(), "@1")) {
      *response = Saved(save);
      return grpc::Status::OK;
    }
  }
  return NotFound(request->name());
}

grpc::Status FakeRegistry::ListRecipes(grpc::ServerContext* /*context*/,
                                       const v1::ListRecipesRequest* request,
                                       v1::ListRecipesResponse* response) {
  recipe_lists.push_back(*request);
  size_t at = 0;
  if (!request->page_token().empty() &&
      !absl::SimpleAtoi(request->page_token(), &at)) {
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "page_token");
  }
  if (at < saves.size()) {
    *response->add_recipes() = Saved(saves[at]);
  }
  if (at + 1 < saves.size()) {
    response->set_next_page_token(absl::StrCat(at + 1));
  }
  return grpc::Status::OK;
}

grpc::Status FakeRegistry::DeleteRecipe(
    grpc::ServerContext* /*context*/, const v1::DeleteRecipeRequest* request,
    v1::DeleteRecipeResponse* /*response*/) {
  deleted_recipes.push_back(request->name());
  return grpc::Status::OK;
}

grpc::Status FakeRegistry::SetRecipeAlias(grpc::ServerContext* /*context*/,
                                          const v1::SetAliasRequest* request,
                                          v1::SavedRecipe* response) {
  set_aliases.push_back(*request);
  for (const v1::SaveRecipeRequest& save : saves) {
    if (save.name() == request->name() && request->version() == 1) {
      *response = Saved(save);
      response->add_aliases(request->alias());
      return grpc::Status::OK;
    }
  }
  return NotFound(request->name());
}

grpc::Status FakeRegistry::DeleteRecipeAlias(
    grpc::ServerContext* /*context*/, const v1::DeleteAliasRequest* request,
    v1::DeleteAliasResponse* /*response*/) {
  deleted_aliases.push_back(*request);
  return grpc::Status::OK;
}

grpc::Status FakeGeneration::Generate(
    grpc::ServerContext* context, const v1::GenerateRequest* request_in,
    grpc::ServerWriter<v1::GenerateResponse>* writer) {
  request = *request_in;
  for (const v1::GenerateResponse& event : events) {
    writer->Write(event);
  }
  while (hangs) {
    if (context->IsCancelled()) {
      was_cancelled = true;
      return grpc::Status::CANCELLED;
    }
    absl::SleepFor(absl::Milliseconds(5));
  }
  return status;
}

grpc::Status FakeGeneration::Tokenize(grpc::ServerContext* /*context*/,
                                      const v1::TokenizeRequest* request_in,
                                      v1::TokenizeResponse* response) {
  tokenize_request = *request_in;
  for (const uint32_t id : {1, 22, 333}) {
    response->add_ids(id);
  }
  return grpc::Status::OK;
}

grpc::Status FakeAdmin::GetServerInfo(
    grpc::ServerContext* /*context*/,
    const v1::GetServerInfoRequest* /*request*/, v1::ServerInfo* response) {
  response->set_version("9.8.7");
  response->set_base_model("tiny");
  response->set_context_tokens(512);
  response->set_vocabulary_size(32000);
  response->add_methods("cat");
  response->mutable_registry()->set_num_adapters(12);
  response->mutable_registry()->set_bytes(2048);
  response->mutable_registry()->set_num_damaged(1);
  response->mutable_registry()->mutable_last_verify_time()->set_seconds(
      1'700'000'000);
  return grpc::Status::OK;
}

grpc::Status FakeAdmin::BackupRegistry(
    grpc::ServerContext* /*context*/,
    const v1::BackupRegistryRequest* /*request*/,
    grpc::ServerWriter<v1::BackupRegistryResponse>* writer) {
  for (const v1::BackupRegistryResponse& part : backup) {
    writer->Write(part);
  }
  return backup_status;
}

grpc::Status FakeAdmin::VerifyRegistry(
    grpc::ServerContext* /*context*/, const v1::VerifyRegistryRequest* request,
    grpc::ServerWriter<v1::VerifyRegistryResponse>* writer) {
  verify_request = *request;
  for (const v1::VerifyRegistryResponse& check : checks) {
    writer->Write(check);
  }
  return grpc::Status::OK;
}

FakeStockpotd::FakeStockpotd() {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port);
  builder.RegisterService(&registry);
  builder.RegisterService(&generation);
  builder.RegisterService(&admin);
  server_ = builder.BuildAndStart();
  address_ = absl::StrCat("127.0.0.1:", port);
  SetServing(true);
}

FakeStockpotd::~FakeStockpotd() {
  server_->Shutdown(absl::ToChronoTime(absl::Now() + absl::Seconds(5)));
}

void FakeStockpotd::SetServing(bool serving) {
  auto* health = server_->GetHealthCheckService();
  health->SetServingStatus(serving);
  health->SetServingStatus("stockpot.v1.GenerationService", serving);
}

CommandResult RunStockpot(const FakeStockpotd& daemon,
                          std::vector<std::string> args,
                          const CommandWorld& world) {
  args.insert(args.begin(), {"--address", daemon.address()});
  std::istringstream in(world.in);
  std::ostringstream out;
  std::ostringstream err;
  Terminal terminal{.in = in,
                    .out = out,
                    .err = err,
                    .in_is_terminal = world.in_is_terminal,
                    .out_is_terminal = world.out_is_terminal,
                    .err_is_terminal = world.err_is_terminal};
  Interrupt interrupt;
  const ExitCode code = RunCommandLine(args, terminal, interrupt);
  return {.code = code, .out = out.str(), .err = err.str()};
}

ExitCode RunStockpot(const FakeStockpotd& daemon, std::vector<std::string> args,
                     std::ostream& out, std::ostream& err,
                     Interrupt& interrupt) {
  args.insert(args.begin(), {"--address", daemon.address()});
  std::istringstream in;
  Terminal terminal{.in = in, .out = out, .err = err};
  return RunCommandLine(args, terminal, interrupt);
}

}  // namespace stockpot::testing
