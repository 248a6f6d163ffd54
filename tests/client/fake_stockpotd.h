// FakeStockpotd serves stockpot.v1 and grpc.health.v1 on a free local port,
// records what it was asked and answers what a test has set.

#ifndef STOCKPOT_TESTS_CLIENT_FAKE_STOCKPOTD_H_
#define STOCKPOT_TESTS_CLIENT_FAKE_STOCKPOTD_H_

#include <atomic>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <grpcpp/server.h>

#include "proto/stockpot/v1/admin.grpc.pb.h"
#include "proto/stockpot/v1/generation.grpc.pb.h"
#include "proto/stockpot/v1/registry.grpc.pb.h"

#include "base/mutex.h"
#include "client/exit_code.h"
#include "client/interrupt.h"

namespace stockpot::testing {

class FakeRegistry final : public v1::RegistryService::Service {
 public:
  grpc::Status RegisterAdapter(
      grpc::ServerContext* context,
      grpc::ServerReader<v1::RegisterAdapterRequest>* reader,
      v1::RegisterAdapterResponse* response) override;
  grpc::Status GetAdapter(grpc::ServerContext* context,
                          const v1::GetAdapterRequest* request,
                          v1::Adapter* response) override;
  grpc::Status ListAdapters(grpc::ServerContext* context,
                            const v1::ListAdaptersRequest* request,
                            v1::ListAdaptersResponse* response) override;
  grpc::Status DownloadAdapter(
      grpc::ServerContext* context, const v1::DownloadAdapterRequest* request,
      grpc::ServerWriter<v1::DownloadAdapterResponse>* writer) override;
  grpc::Status SetAlias(grpc::ServerContext* context,
                        const v1::SetAliasRequest* request,
                        v1::Adapter* response) override;
  grpc::Status DeleteAlias(grpc::ServerContext* context,
                           const v1::DeleteAliasRequest* request,
                           v1::DeleteAliasResponse* response) override;
  grpc::Status DeleteAdapter(grpc::ServerContext* context,
                             const v1::DeleteAdapterRequest* request,
                             v1::DeleteAdapterResponse* response) override;
  grpc::Status UndeleteAdapter(grpc::ServerContext* context,
                               const v1::UndeleteAdapterRequest* request,
                               v1::Adapter* response) override;

  grpc::Status SaveRecipe(grpc::ServerContext* context,
                          const v1::SaveRecipeRequest* request,
                          v1::SavedRecipe* response) override;
  grpc::Status GetRecipe(grpc::ServerContext* context,
                         const v1::GetRecipeRequest* request,
                         v1::SavedRecipe* response) override;
  grpc::Status ListRecipes(grpc::ServerContext* context,
                           const v1::ListRecipesRequest* request,
                           v1::ListRecipesResponse* response) override;
  grpc::Status DeleteRecipe(grpc::ServerContext* context,
                            const v1::DeleteRecipeRequest* request,
                            v1::DeleteRecipeResponse* response) override;
  grpc::Status SetRecipeAlias(grpc::ServerContext* context,
                              const v1::SetAliasRequest* request,
                              v1::SavedRecipe* response) override;
  grpc::Status DeleteRecipeAlias(grpc::ServerContext* context,
                                 const v1::DeleteAliasRequest* request,
                                 v1::DeleteAliasResponse* response) override;

  // What the next uploads, downloads and lists meet.
  grpc::Status upload_status;
  // Answers what has arrived whole; several threads call it at once.
  std::function<grpc::Status(const v1::AdapterMetadata&)> on_upload;
  std::vector<v1::Adapter> adapters;  // Pages of two.
  std::vector<v1::DownloadAdapterResponse> download;

  // What was asked.
  std::vector<v1::RegisterAdapterRequest> upload;
  std::vector<v1::ListAdaptersRequest> lists;
  std::vector<v1::SetAliasRequest> set_aliases;
  std::vector<v1::DeleteAliasRequest> deleted_aliases;
  std::vector<std::string> deleted;
  std::vector<std::string> purged;
  std::vector<std::string> undeleted;
  std::vector<v1::SaveRecipeRequest> saves;  // Each is a recipe's version 1.
  std::vector<v1::ListRecipesRequest> recipe_lists;
  std::vector<std::string> deleted_recipes;

 private:
  // Held while one of several uploads at once is written down.
  Mutex mu_;
};

class FakeGeneration final : public v1::GenerationService::Service {
 public:
  grpc::Status Generate(
      grpc::ServerContext* context, const v1::GenerateRequest* request,
      grpc::ServerWriter<v1::GenerateResponse>* writer) override;
  grpc::Status Tokenize(grpc::ServerContext* context,
                        const v1::TokenizeRequest* request,
                        v1::TokenizeResponse* response) override;

  std::vector<v1::GenerateResponse> events;
  // After the events, waits until the call is cancelled.
  bool hangs = false;
  grpc::Status status;

  v1::GenerateRequest request;
  v1::TokenizeRequest tokenize_request;
  std::atomic<bool> was_cancelled = false;
};

class FakeAdmin final : public v1::AdminService::Service {
 public:
  grpc::Status GetServerInfo(grpc::ServerContext* context,
                             const v1::GetServerInfoRequest* request,
                             v1::ServerInfo* response) override;
  grpc::Status BackupRegistry(
      grpc::ServerContext* context, const v1::BackupRegistryRequest* request,
      grpc::ServerWriter<v1::BackupRegistryResponse>* writer) override;
  grpc::Status VerifyRegistry(
      grpc::ServerContext* context, const v1::VerifyRegistryRequest* request,
      grpc::ServerWriter<v1::VerifyRegistryResponse>* writer) override;

  // What is sent, and how a backup then ends.
  std::vector<v1::BackupRegistryResponse> backup;
  grpc::Status backup_status;
  std::vector<v1::VerifyRegistryResponse> checks;

  v1::VerifyRegistryRequest verify_request;
};

class FakeStockpotd {
 public:
  FakeStockpotd();
  ~FakeStockpotd();

  // "" and "stockpot.v1.GenerationService".
  void SetServing(bool serving);

  const std::string& address() const { return address_; }

  FakeRegistry registry;
  FakeGeneration generation;
  FakeAdmin admin;

 private:
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

// What a command line left behind.
struct CommandResult {
  ExitCode code = kExitOk;
  std::string out;
  std::string err;
};

// Where a command line runs: no terminals unless a test says otherwise.
struct CommandWorld {
  std::string in = {};
  bool in_is_terminal = false;
  bool out_is_terminal = false;
  bool err_is_terminal = false;
};

// Runs `stockpot --address <daemon's> ARGS...` in this process.
CommandResult RunStockpot(const FakeStockpotd& daemon,
                          std::vector<std::string> args,
                          const CommandWorld& world = {});
// The same with an interrupt and an output of the test's own.
ExitCode RunStockpot(const FakeStockpotd& daemon, std::vector<std::string> args,
                     std::ostream& out, std::ostream& err,
                     Interrupt& interrupt);

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_CLIENT_FAKE_STOCKPOTD_H_
