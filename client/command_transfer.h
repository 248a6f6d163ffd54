// `stockpot register` and `stockpot download`: whole adapters over the wire,
// in constant memory.

#ifndef STOCKPOT_CLIENT_COMMAND_TRANSFER_H_
#define STOCKPOT_CLIENT_COMMAND_TRANSFER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "proto/stockpot/v1/registry.pb.h"

#include "client/connection.h"
#include "client/generate_request.h"
#include "client/resumable_upload.h"
#include "client/terminal.h"

namespace stockpot {

struct RegisterOptions {
  std::string directory;
  std::string name;  // Empty: the directory's name.
  std::optional<int64_t> version;
  std::vector<std::string> labels;  // "key=value".
  std::string description;
  std::string card_file;       // Empty: no card.
  std::string license;         // SPDX; empty: what the card says.
  std::string signature_file;  // Empty: model.sig of the directory, if there.
  std::string alias;           // Empty: none.
  bool json = false;
  RetryRule retry;
};

struct DownloadOptions {
  std::string adapter;  // As stockpot.v1.Skill.adapter.
  std::string directory;
  bool force = false;
};

struct ExportOptions {
  GenerateOptions mix;  // Only what FillChoice() reads.
  std::string name;     // For the server's metadata; empty: none.
  std::string directory;
  bool force = false;
};

// Uploads what `options` say and sets the alias; prints nothing but progress.
// Errors: what went wrong on this side, or the status of the call.
absl::StatusOr<v1::RegisterAdapterResponse> RegisterDirectory(
    const RegisterOptions& options, const Connection& connection,
    Terminal& terminal);

// Each returns OK after the server's acknowledgement, and what went wrong
// otherwise: on this side, or the status of the call.
absl::Status RunRegister(const RegisterOptions& options,
                         const Connection& connection, Terminal& terminal);
absl::Status RunDownload(const DownloadOptions& options,
                         const Connection& connection, Terminal& terminal);
// Writes a recipe as a PEFT adapter.
absl::Status RunExport(const ExportOptions& options,
                       const Connection& connection, Terminal& terminal);

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_COMMAND_TRANSFER_H_
