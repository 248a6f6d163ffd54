// A backup of a registry as it lies in a folder:
//
//   DIR/stockpot-backup.json  what it holds: name, size and SHA-256 of each
//                             file, and of that list
//   DIR/files/                the registry's files
//
// While a backup is being written its files lie in DIR/files.partial, and get
// their name last: a backup that was cut is never taken for a whole one.

#ifndef STOCKPOT_CLIENT_BACKUP_DIRECTORY_H_
#define STOCKPOT_CLIENT_BACKUP_DIRECTORY_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/sha256.h"
#include "client/durable_file.h"

namespace stockpot {

struct BackupFileEntry {
  std::string name;
  uint64_t size_bytes = 0;
  std::string sha256;  // Lower-case hex.
};

struct BackupManifest {
  // Of the registry; docs/formats/registry.md.
  uint32_t format_version = 0;
  std::string create_time;  // "2026-11-21T04:44:02Z"
  std::vector<BackupFileEntry> files;

  uint64_t size_bytes() const;  // Of all files.
  // SHA-256 over the names, sizes and hashes of all files, as hex: names the
  // backup as a whole.
  std::string sha256() const;
};

// Told the bytes done so far.
using BackupProgress = std::function<void(uint64_t)>;

// Writes a backup as it comes. One that is destroyed before Commit() removes
// what it wrote. Not thread-safe.
class BackupWriter {
 public:
  // Errors: AlreadyExists (`directory` is not empty); PermissionDenied.
  static absl::StatusOr<std::unique_ptr<BackupWriter>> Open(
      const std::string& directory);
  ~BackupWriter();
  BackupWriter(const BackupWriter&) = delete;
  BackupWriter& operator=(const BackupWriter&) = delete;

  // The files one by one: begin, bytes, end. Errors: DataLoss (other bytes than
  // declared, or out of order); InvalidArgument (a name that may not be);
  // ResourceExhausted (disk).
  absl::Status BeginFile(absl::string_view name, uint64_t size_bytes);
  absl::Status Append(absl::string_view bytes);
  absl::Status EndFile(absl::string_view sha256_hex);

  uint64_t num_bytes() const { return num_bytes_; }

  // Makes the backup whole and durable, and returns what it holds.
  // Errors: DataLoss, if that is not what the end says; ResourceExhausted.
  absl::StatusOr<BackupManifest> Commit(uint32_t num_files, uint64_t size_bytes,
                                        uint32_t format_version);

 private:
  BackupWriter(std::filesystem::path directory, bool made_directory);

  const std::filesystem::path directory_;
  const bool made_directory_;
  bool committed_ = false;
  BackupManifest manifest_;
  std::unique_ptr<DurableFile> file_;  // That is being written.
  uint64_t num_file_bytes_ = 0;
  uint64_t num_bytes_ = 0;
  Sha256 hash_;
};

// Reads what the backup in `directory` should hold. Errors: NotFound (no
// backup); DataLoss (cut, or the manifest is damaged); FailedPrecondition (a
// newer manifest than this program knows).
absl::StatusOr<BackupManifest> ReadBackupManifest(const std::string& directory);

// Compares each file of the backup with `manifest`. Returns a line for each
// that is damaged or missing; none: all is well.
std::vector<std::string> VerifyBackup(const std::string& directory,
                                      const BackupManifest& manifest,
                                      const BackupProgress& progress);

// Copies the backup's files into the folder `target`, checking each: complete,
// or nothing. Errors: AlreadyExists (`target` is not empty; or a restore into
// it was cut); DataLoss (naming the file); PermissionDenied;
// ResourceExhausted (disk).
absl::Status RestoreBackup(const std::string& directory,
                           const BackupManifest& manifest,
                           const std::string& target,
                           const BackupProgress& progress);

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_BACKUP_DIRECTORY_H_
