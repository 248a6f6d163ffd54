#include "registry/rocks_status.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "rocksdb/status.h"

namespace stockpot {

absl::Status FromRocks(const rocksdb::Status& status,
                       absl::string_view action) {
  if (status.ok()) {
    return absl::OkStatus();
  }
  const auto message = [action](absl::string_view why) {
    return absl::StrCat("the registry could not ", action, ": ", why);
  };
  // A full disk is an IOError, a lost file too: the narrow cases come first.
  if (status.IsNoSpace() || status.subcode() == rocksdb::Status::kSpaceLimit) {
    return absl::ResourceExhaustedError(
        message("its disk is full; delete adapters or free space"));
  }
  if (status.IsCorruption() || status.IsPathNotFound()) {
    return absl::DataLossError(message("stored data is damaged"));
  }
  switch (status.code()) {
    case rocksdb::Status::kNotFound:
      return absl::NotFoundError(message("it is not stored"));
    case rocksdb::Status::kIOError:
      return absl::UnavailableError(message("its disk failed; try again"));
    case rocksdb::Status::kBusy:
    case rocksdb::Status::kTryAgain:
    case rocksdb::Status::kTimedOut:
    case rocksdb::Status::kIncomplete:
    case rocksdb::Status::kShutdownInProgress:
    case rocksdb::Status::kNotSupported:  // A write to a read-only database.
      return absl::UnavailableError(
          message("it does not take this call now; try again"));
    default:
      return absl::InternalError(message("internal error"));
  }
}

}  // namespace stockpot
