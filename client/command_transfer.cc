#include "client/command_transfer.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include "proto/stockpot/v1/registry.grpc.pb.h"

#include "base/status_macros.h"
#include "client/adapter_directory.h"
#include "client/adapter_text.h"
#include "client/json_text.h"
#include "client/progress_bar.h"
#include "client/resumable_upload.h"
#include "client/table.h"
#include "client/text.h"

namespace stockpot {
namespace {

constexpr size_t kMaxCardBytes = size_t{256} << 10;
constexpr size_t kMaxSignatureBytes = size_t{64} << 10;
// As `model_signing sign` calls it.
constexpr char kSignatureName[] = "model.sig";

// The signature that was asked for, or the one that lies beside the weights;
// empty if there is none.
absl::StatusOr<std::string> ReadSignature(const RegisterOptions& options,
                                          const AdapterDirectory& adapter) {
  if (!options.signature_file.empty()) {
    return ReadTextFile(options.signature_file, kMaxSignatureBytes);
  }
  const std::filesystem::path beside =
      adapter.weights_path.parent_path() / kSignatureName;
  std::error_code error;
  return std::filesystem::exists(beside, error)
             ? ReadTextFile(beside.string(), kMaxSignatureBytes)
             : std::string();
}

absl::StatusOr<v1::AdapterMetadata> MakeMetadata(
    const RegisterOptions& options, const AdapterDirectory& adapter) {
  v1::AdapterMetadata metadata;
  metadata.set_name(options.name.empty() ? adapter.name : options.name);
  if (options.version.has_value()) {
    metadata.set_version(*options.version);
  }
  metadata.set_size_bytes(adapter.size_bytes);
  metadata.set_sha256(adapter.sha256.ToHex());
  metadata.set_adapter_config(adapter.config);
  for (const std::string& label : options.labels) {
    ASSIGN_OR_RETURN(const auto pair, ParseKeyValue(label));
    (*metadata.mutable_labels())[pair.first] = pair.second;
  }
  metadata.set_description(options.description);
  if (!options.card_file.empty()) {
    ASSIGN_OR_RETURN(std::string card,
                     ReadTextFile(options.card_file, kMaxCardBytes));
    metadata.set_card(std::move(card));
  }
  metadata.set_license(options.license);
  ASSIGN_OR_RETURN(*metadata.mutable_signature(),
                   ReadSignature(options, adapter));
  return metadata;
}

// Reads and hashes the directory under a progress bar of its own.
absl::StatusOr<AdapterDirectory> ReadDirectory(const RegisterOptions& options,
                                               Terminal& terminal) {
  std::optional<ProgressBar> bar;
  return ReadAdapterDirectory(
      options.directory, [&](uint64_t done, uint64_t total) {
        if (!bar.has_value()) {
          bar.emplace(terminal.progress(), "hashing", total, terminal.columns);
        }
        bar->Update(done);
      });
}

// The receiving side of one download. Not thread-safe.
class Download {
 public:
  // An adapter without a version is called `fallback`.
  Download(std::string directory, bool force, std::string fallback,
           Terminal& terminal)
      : directory_(std::move(directory)),
        force_(force),
        fallback_(std::move(fallback)),
        terminal_(terminal) {}

  // `start` begins the call and returns its reader.
  template <typename Start>
  absl::Status Run(const Connection& connection, Start start) {
    absl::Status received;
    const absl::Status call =
        connection.Call([&](grpc::ClientContext* context) {
          const auto reader = start(context);
          v1::DownloadAdapterResponse response;
          while (received.ok() && reader->Read(&response)) {
            received = Receive(response);
          }
          if (!received.ok()) {
            context->TryCancel();
          }
          return reader->Finish();
        });
    RETURN_IF_ERROR(received);
    RETURN_IF_ERROR(call);
    return Finish();
  }

 private:
  absl::Status Receive(const v1::DownloadAdapterResponse& response) {
    if (response.has_metadata()) {
      // Not sooner: an unknown adapter must leave no directory behind.
      ASSIGN_OR_RETURN(writer_,
                       AdapterDirectoryWriter::Open(directory_, force_));
      metadata_ = response.metadata();
      bar_.emplace(terminal_.progress(), "downloading", metadata_.size_bytes(),
                   terminal_.columns);
      return absl::OkStatus();
    }
    if (writer_ == nullptr) {
      return absl::InternalError("the server sends no metadata");
    }
    num_bytes_ += response.chunk().size();
    // Finish() would notice too, but perhaps after the disk is full.
    if (num_bytes_ > metadata_.size_bytes()) {
      return absl::DataLossError(
          absl::StrCat("the server sends more than the adapter's ",
                       metadata_.size_bytes(), " bytes"));
    }
    bar_->Update(num_bytes_);
    return writer_->Append(response.chunk());
  }

  // Checks the bytes, puts them in their place and prints what they are.
  absl::Status Finish() {
    if (writer_ == nullptr) {
      return absl::InternalError("the server sends no metadata");
    }
    bar_->Clear();
    RETURN_IF_ERROR(writer_->Commit(metadata_.adapter_config(),
                                    metadata_.size_bytes(),
                                    metadata_.sha256()));
    terminal_.out << JoinCells({metadata_.version() == 0
                                    ? fallback_
                                    : absl::StrCat(metadata_.name(), "@",
                                                   metadata_.version()),
                                metadata_.sha256(),
                                FormatBytes(metadata_.size_bytes()),
                                directory_})
                  << '\n';
    return absl::OkStatus();
  }

  const std::string directory_;
  const bool force_;
  const std::string fallback_;
  Terminal& terminal_;
  v1::AdapterMetadata metadata_;
  std::unique_ptr<AdapterDirectoryWriter> writer_;
  std::optional<ProgressBar> bar_;
  uint64_t num_bytes_ = 0;
};

// "facts@3  <digest>  1.2 MiB  rank 8  q_proj,v_proj", or JSON.
void PrintRegistered(const v1::RegisterAdapterResponse& response, bool as_json,
                     Terminal& terminal) {
  const v1::Adapter& adapter = response.adapter();
  if (as_json) {
    Json json = ToJson(adapter, /*with_text=*/false);
    json["already_stored"] = response.already_stored();
    terminal.out << ToLine(json) << '\n';
    return;
  }
  if (response.already_stored()) {
    terminal.err << "the server knew these bytes already\n";
  }
  terminal.out << JoinCells({VersionedName(adapter), adapter.digest(),
                             FormatBytes(adapter.size_bytes()),
                             absl::StrCat("rank ", RankText(adapter)),
                             absl::StrJoin(adapter.target_modules(), ",")})
               << '\n';
}

}  // namespace

absl::StatusOr<v1::RegisterAdapterResponse> RegisterDirectory(
    const RegisterOptions& options, const Connection& connection,
    Terminal& terminal) {
  if (!options.name.empty()) {
    RETURN_IF_ERROR(CheckAdapterName(options.name));
  }
  ASSIGN_OR_RETURN(const AdapterDirectory adapter,
                   ReadDirectory(options, terminal));
  ASSIGN_OR_RETURN(const v1::AdapterMetadata metadata,
                   MakeMetadata(options, adapter));
  RETURN_IF_ERROR(CheckAdapterName(metadata.name()));
  ASSIGN_OR_RETURN(v1::RegisterAdapterResponse response,
                   UploadAdapter(metadata, adapter.weights_path, connection,
                                 terminal, options.retry));
  if (!options.alias.empty()) {
    const auto stub = v1::RegistryService::NewStub(connection.channel());
    v1::SetAliasRequest request;
    request.set_name(response.adapter().name());
    request.set_alias(options.alias);
    request.set_version(response.adapter().version());
    const absl::Status status =
        connection.Call([&](grpc::ClientContext* context) {
          return stub->SetAlias(context, request, response.mutable_adapter());
        });
    if (!status.ok()) {
      return absl::Status(
          status.code(),
          absl::StrCat(VersionedName(response.adapter()),
                       " is registered, but its alias '", options.alias,
                       "' is not set: ", status.message()));
    }
  }
  return response;
}

absl::Status RunRegister(const RegisterOptions& options,
                         const Connection& connection, Terminal& terminal) {
  ASSIGN_OR_RETURN(const v1::RegisterAdapterResponse response,
                   RegisterDirectory(options, connection, terminal));
  PrintRegistered(response, options.json, terminal);
  return absl::OkStatus();
}

absl::Status RunDownload(const DownloadOptions& options,
                         const Connection& connection, Terminal& terminal) {
  const auto stub = v1::RegistryService::NewStub(connection.channel());
  v1::DownloadAdapterRequest request;
  request.set_adapter(options.adapter);
  Download download(options.directory, options.force, options.adapter,
                    terminal);
  return download.Run(connection, [&](grpc::ClientContext* context) {
    return stub->DownloadAdapter(context, request);
  });
}

absl::Status RunExport(const ExportOptions& options,
                       const Connection& connection, Terminal& terminal) {
  const auto stub = v1::RegistryService::NewStub(connection.channel());
  v1::ExportRecipeRequest request;
  RETURN_IF_ERROR(FillChoiceOf(options.mix, request));
  request.set_name(options.name);
  Download download(options.directory, options.force,
                    options.name.empty() ? "recipe" : options.name, terminal);
  return download.Run(connection, [&](grpc::ClientContext* context) {
    return stub->ExportRecipe(context, request);
  });
}

}  // namespace stockpot
