// Files that must be there after a power failure: written, then synced, and the
// folders that name them too. Free functions; a DurableFile is not thread-safe.

#ifndef STOCKPOT_CLIENT_DURABLE_FILE_H_
#define STOCKPOT_CLIENT_DURABLE_FILE_H_

#include <cstddef>
#include <filesystem>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stockpot {

class DurableFile {
 public:
  // Makes a new file. Errors: AlreadyExists; PermissionDenied.
  static absl::StatusOr<std::unique_ptr<DurableFile>> Create(
      std::filesystem::path path);
  ~DurableFile();
  DurableFile(const DurableFile&) = delete;
  DurableFile& operator=(const DurableFile&) = delete;

  // Errors: ResourceExhausted, if the disk is full or fails.
  absl::Status Append(absl::string_view bytes);

  // Syncs and closes. REQUIRES: called once, and last.
  // Errors: as Append().
  absl::Status Close();

 private:
  DurableFile(std::filesystem::path path, int fd);

  const std::filesystem::path path_;
  int fd_;
  size_t num_unsynced_ = 0;
};

// Makes durable which names the folder holds. Errors: ResourceExhausted.
absl::Status SyncFolder(const std::filesystem::path& folder);

// Gives `from` the name `to`, durably. Errors: PermissionDenied, saying why;
// ResourceExhausted.
absl::Status RenameDurably(const std::filesystem::path& from,
                           const std::filesystem::path& to);

// OK if `path` is an empty folder, or nothing: then it is made. Sets `made` in
// that case. Errors: AlreadyExists (it holds something, or is a file);
// PermissionDenied.
absl::Status ClaimEmptyFolder(const std::filesystem::path& path, bool* made);

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_DURABLE_FILE_H_
