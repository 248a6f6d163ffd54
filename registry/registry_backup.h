// A RegistryBackup is the registry's files as they were at one moment, to be
// read while the registry goes on taking uploads and deletes.
//
// RocksDB's checkpoint makes it: hard links to the files that never change, and
// copies of the two that grow, in a folder inside the registry's. Whatever was
// acknowledged before Begin() is in it; of what happens meanwhile, a part. The
// CommitWitness is left out: it speaks of the registry that goes on, and a
// restored one gets its own.
//
// Policy: one at a time. It costs no space until the registry drops a file that
// the backup still links. The folder goes with the backup, or when the store
// is opened next. Not thread-safe.

#ifndef STOCKPOT_REGISTRY_REGISTRY_BACKUP_H_
#define STOCKPOT_REGISTRY_REGISTRY_BACKUP_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "base/digest.h"
#include "base/sha256.h"

namespace stockpot {

struct StoreContext;

// Reads one file of a backup from its beginning to its end. Not thread-safe.
class BackupFileReader {
 public:
  // Owns `fd`, a file of which `size_bytes` belong to the backup.
  BackupFileReader(std::string name, int fd, uint64_t size_bytes)
      : name_(std::move(name)), fd_(fd), size_bytes_(size_bytes) {}
  ~BackupFileReader();
  BackupFileReader(const BackupFileReader&) = delete;
  BackupFileReader& operator=(const BackupFileReader&) = delete;

  // Sets `chunk` to the next bytes, at most 1 MiB, and returns true; returns
  // false after the last. Errors: Unavailable; DataLoss (the file is shorter
  // than it was).
  absl::StatusOr<bool> Next(std::string* chunk);

  // Of all bytes. REQUIRES: Next() returned false; called once.
  Digest sha256() { return hash_.Finish(); }

 private:
  const std::string name_;
  const int fd_;
  const uint64_t size_bytes_;
  uint64_t num_read_ = 0;
  Sha256 hash_;
};

class RegistryBackup {
 public:
  // The folder inside the registry's.
  static constexpr char kFolderName[] = "BACKUP";

  struct File {
    std::string name;  // No folder.
    uint64_t size_bytes = 0;
  };

  // Errors: FailedPrecondition (another backup lives); ResourceExhausted,
  // Unavailable (disk). `context` must outlive the backup.
  static absl::StatusOr<std::unique_ptr<RegistryBackup>> Begin(
      StoreContext* context);
  ~RegistryBackup();
  RegistryBackup(const RegistryBackup&) = delete;
  RegistryBackup& operator=(const RegistryBackup&) = delete;

  // Removes what a process that died has left. REQUIRES: no backup lives; the
  // database is open, so that no other process has one.
  static void RemoveLeftovers(StoreContext* context);

  // By name.
  const std::vector<File>& files() const { return files_; }
  uint64_t size_bytes() const;  // Of all files.
  // Of docs/formats/registry.md.
  uint32_t format_version() const;

  // REQUIRES: index < files().size(). Errors: Unavailable.
  absl::StatusOr<std::unique_ptr<BackupFileReader>> OpenFile(
      size_t index) const;

 private:
  explicit RegistryBackup(StoreContext* context);

  absl::Status LinkFiles();
  absl::Status ListFiles();

  StoreContext* const context_;
  const std::string folder_;
  std::vector<File> files_;
};

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_REGISTRY_BACKUP_H_
