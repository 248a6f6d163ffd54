#include "client/command_hub.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include "proto/stockpot/v1/admin.grpc.pb.h"

#include "base/status_macros.h"
#include "client/backup_directory.h"
#include "client/progress_bar.h"
#include "client/table.h"
#include "client/text.h"

namespace stockpot {
namespace {

struct BackupOptions {
  std::string directory;
};

struct VerifyOptions {
  std::string directory;  // Empty: the running server.
  uint64_t bytes_per_second = 0;
};

struct RestoreOptions {
  std::string directory;
  std::string target;
};

absl::StatusOr<v1::RegistryStatus> AskRegistryStatus(
    const Connection& connection) {
  const auto stub = v1::AdminService::NewStub(connection.channel());
  v1::ServerInfo info;
  RETURN_IF_ERROR(connection.Call([&](grpc::ClientContext* context) {
    return stub->GetServerInfo(context, v1::GetServerInfoRequest(), &info);
  }));
  return info.registry();
}

// The receiving side of one backup. Not thread-safe.
class Backup {
 public:
  Backup(std::string directory, ProgressBar* bar)
      : directory_(std::move(directory)), bar_(*bar) {}

  absl::Status Receive(const v1::BackupRegistryResponse& part) {
    if (end_.has_value()) {
      return absl::DataLossError("the server sends more than the backup's end");
    }
    if (writer_ == nullptr) {
      // Not sooner: a server that refuses must leave no folder behind.
      ASSIGN_OR_RETURN(writer_, BackupWriter::Open(directory_));
    }
    switch (part.part_case()) {
      case v1::BackupRegistryResponse::kFile:
        return writer_->BeginFile(part.file().name(), part.file().size_bytes());
      case v1::BackupRegistryResponse::kChunk:
        RETURN_IF_ERROR(writer_->Append(part.chunk()));
        bar_.Update(writer_->num_bytes());
        return absl::OkStatus();
      case v1::BackupRegistryResponse::kSha256:
        return writer_->EndFile(part.sha256());
      case v1::BackupRegistryResponse::kEnd:
        end_ = part.end();
        return absl::OkStatus();
      default:
        return absl::FailedPreconditionError(
            "the server sends a part of a backup that this stockpot does not "
            "know; use a newer one");
    }
  }

  // Makes the backup whole.
  absl::StatusOr<BackupManifest> Finish() {
    if (!end_.has_value()) {
      return absl::DataLossError(
          "the backup was cut: the server did not send its end");
    }
    return writer_->Commit(end_->num_files(), end_->size_bytes(),
                           end_->format_version());
  }

 private:
  const std::string directory_;
  ProgressBar& bar_;
  std::unique_ptr<BackupWriter> writer_;
  std::optional<v1::BackupEnd> end_;
};

void PrintBackup(const std::string& directory, const BackupManifest& manifest,
                 Terminal& terminal) {
  terminal.out << JoinCells({directory, manifest.sha256(),
                             absl::StrCat(manifest.files.size(), " files"),
                             FormatBytes(manifest.size_bytes()),
                             manifest.create_time})
               << '\n';
}

absl::Status RunBackup(const BackupOptions& options,
                       const Connection& connection, Terminal& terminal) {
  ASSIGN_OR_RETURN(const v1::RegistryStatus registry,
                   AskRegistryStatus(connection));
  // What the files have beyond the adapters' bytes is little.
  ProgressBar bar(terminal.progress(), "backing up", registry.bytes(),
                  terminal.columns);
  Backup backup(options.directory, &bar);
  const auto stub = v1::AdminService::NewStub(connection.channel());
  absl::Status received;
  const absl::Status call = connection.Call([&](grpc::ClientContext* context) {
    const auto reader =
        stub->BackupRegistry(context, v1::BackupRegistryRequest());
    v1::BackupRegistryResponse part;
    while (received.ok() && reader->Read(&part)) {
      received = backup.Receive(part);
    }
    if (!received.ok()) {
      context->TryCancel();
    }
    return reader->Finish();
  });
  RETURN_IF_ERROR(received);
  RETURN_IF_ERROR(call);
  ASSIGN_OR_RETURN(const BackupManifest manifest, backup.Finish());
  bar.Clear();
  PrintBackup(options.directory, manifest, terminal);
  if (registry.num_damaged() > 0) {
    terminal.err << "warning: " << registry.num_damaged()
                 << " adapters are damaged, in the registry and so in the "
                    "backup; `stockpot hub verify` names them\n";
  }
  return absl::OkStatus();
}

absl::Status VerifyDirectory(const std::string& directory, Terminal& terminal) {
  ASSIGN_OR_RETURN(const BackupManifest manifest,
                   ReadBackupManifest(directory));
  ProgressBar bar(terminal.progress(), "verifying", manifest.size_bytes(),
                  terminal.columns);
  const std::vector<std::string> faults = VerifyBackup(
      directory, manifest, [&](uint64_t done) { bar.Update(done); });
  bar.Clear();
  for (const std::string& fault : faults) {
    terminal.out << PrintableText(fault) << '\n';
  }
  if (!faults.empty()) {
    return absl::DataLossError(absl::StrCat(
        directory, ": ", faults.size(), " of ", manifest.files.size(),
        " files are damaged or missing; use another backup"));
  }
  PrintBackup(directory, manifest, terminal);
  return absl::OkStatus();
}

absl::Status VerifyServer(uint64_t bytes_per_second,
                          const Connection& connection, Terminal& terminal) {
  ASSIGN_OR_RETURN(const v1::RegistryStatus registry,
                   AskRegistryStatus(connection));
  ProgressBar bar(terminal.progress(), "verifying", registry.bytes(),
                  terminal.columns);
  const auto stub = v1::AdminService::NewStub(connection.channel());
  v1::VerifyRegistryRequest request;
  request.set_bytes_per_second(bytes_per_second);
  v1::VerifyRegistryResponse last;
  RETURN_IF_ERROR(connection.Call([&](grpc::ClientContext* context) {
    const auto reader = stub->VerifyRegistry(context, request);
    while (reader->Read(&last)) {
      bar.Update(last.bytes_checked());
    }
    return reader->Finish();
  }));
  bar.Clear();
  if (!last.done()) {
    return absl::InternalError("the server ended the check without a result");
  }
  for (const std::string& name : last.damaged()) {
    terminal.out << "damaged  " << PrintableText(name) << '\n';
  }
  if (!last.damaged().empty()) {
    return absl::DataLossError(absl::StrCat(
        last.damaged_size(),
        " stored adapters are damaged; upload the same content again to "
        "repair them, or delete them"));
  }
  terminal.out << "checked " << last.num_checked() << " adapters, "
               << FormatBytes(last.bytes_checked()) << ": nothing is damaged\n";
  return absl::OkStatus();
}

absl::Status RunVerify(const VerifyOptions& options,
                       const Connection& connection, Terminal& terminal) {
  return options.directory.empty()
             ? VerifyServer(options.bytes_per_second, connection, terminal)
             : VerifyDirectory(options.directory, terminal);
}

absl::Status RunRestore(const RestoreOptions& options,
                        const Connection& /*connection*/, Terminal& terminal) {
  ASSIGN_OR_RETURN(const BackupManifest manifest,
                   ReadBackupManifest(options.directory));
  ProgressBar bar(terminal.progress(), "restoring", manifest.size_bytes(),
                  terminal.columns);
  RETURN_IF_ERROR(RestoreBackup(options.directory, manifest, options.target,
                                [&](uint64_t done) { bar.Update(done); }));
  bar.Clear();
  PrintBackup(options.target, manifest, terminal);
  terminal.err << "start the daemon with --registry=" << options.target
               << ", then check it: stockpot hub verify\n";
  return absl::OkStatus();
}

}  // namespace

void AddHubCommands(CLI::App& app, Arguments& arguments) {
  CLI::App* hub = app.add_subcommand(
      "hub", "Back up, check and restore the registry as a whole");
  hub->require_subcommand(1);
  hub->fallthrough();

  auto backup = std::make_shared<BackupOptions>();
  CLI::App* command = AddCommand(
      *hub, arguments, "backup", "Write the running server's registry to DIR",
      "  stockpot hub backup /backups/2026-11-21\n"
      "The server goes on meanwhile; all that it acknowledged before is in "
      "the\nbackup. Prints the backup's SHA-256.\n",
      backup, RunBackup);
  command->add_option("DIR", backup->directory, "New, or empty")->required();

  auto verify = std::make_shared<VerifyOptions>();
  command = AddCommand(
      *hub, arguments, "verify",
      "Compare a backup, or the running registry, with its hashes",
      "  stockpot hub verify /backups/2026-11-21\n"
      "  stockpot hub verify --bytes-per-second 100000000\n"
      "Exits with 1 if anything is damaged, and says what. What is damaged in "
      "the\nserver is served to nobody from then on.\n",
      verify, RunVerify);
  CLI::Option* directory = command->add_option(
      "DIR", verify->directory, "A backup; without it the server is asked");
  command
      ->add_option("--bytes-per-second", verify->bytes_per_second,
                   "How fast the server reads [as fast as it can]")
      ->excludes(directory);

  auto restore = std::make_shared<RestoreOptions>();
  command = AddCommand(
      *hub, arguments, "restore", "Make a registry of a backup",
      "  stockpot hub restore /backups/2026-11-21 /var/lib/stockpot/registry\n"
      "Checks every file on the way: TARGET is complete or not there. Calls "
      "no\n"
      "server.\n",
      restore, RunRestore);
  command->add_option("DIR", restore->directory, "The backup")->required();
  command->add_option("TARGET", restore->target, "New, or empty")->required();
}

}  // namespace stockpot
