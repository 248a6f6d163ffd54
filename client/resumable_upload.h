// Uploads one adapter, and goes on where it stopped when a call breaks off.

#ifndef STOCKPOT_CLIENT_RESUMABLE_UPLOAD_H_
#define STOCKPOT_CLIENT_RESUMABLE_UPLOAD_H_

#include <filesystem>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "proto/stockpot/v1/registry.pb.h"

#include "client/connection.h"
#include "client/terminal.h"

namespace stockpot {

// How often to try when nothing more arrives. The pauses double; together they
// are longer than a server needs to notice that a connection is gone.
struct RetryRule {
  int max_breaks = 8;  // In a row, without a byte between them.
  absl::Duration first_pause = absl::Milliseconds(500);
  absl::Duration max_pause = absl::Seconds(15);
};

// Sends the file at `weights` as `metadata` declares it and returns the
// server's acknowledgement. Constant memory. Each break is one line on
// `terminal.err`. Does not try again when nothing was sent, on Ctrl-C, when the
// caller set a time limit and it passed, or when the server refused the upload.
//
// Begun again with the same metadata, by the same user on the same machine, it
// goes on with what an earlier run left on the server.
//
// Errors: NotFound, DataLoss (reading the file); the status of the last call.
absl::StatusOr<v1::RegisterAdapterResponse> UploadAdapter(
    v1::AdapterMetadata metadata, const std::filesystem::path& weights,
    const Connection& connection, Terminal& terminal,
    const RetryRule& rule = {});

// An upload_id that is the same for the same declaration, server, machine and
// user, and no other: 64 characters.
std::string UploadIdOf(const v1::AdapterMetadata& metadata,
                       absl::string_view address);

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_RESUMABLE_UPLOAD_H_
