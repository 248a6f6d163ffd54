#include "registry/registry_backup.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "rocksdb/db.h"
#include "rocksdb/utilities/checkpoint.h"

#include "base/log.h"
#include "base/status_macros.h"
#include "registry/adapter_store.h"
#include "registry/rocks_db.h"
#include "registry/store_audit.h"
#include "registry/store_context.h"

namespace stockpot {
namespace {

namespace fs = std::filesystem;

constexpr absl::string_view kBackingUp = "back itself up";
// RocksDB builds a checkpoint under this name and then renames it.
constexpr char kUnfinished[] = ".tmp";

std::string FolderOf(const StoreContext& context) {
  return absl::StrCat(context.options.path, "/", RegistryBackup::kFolderName);
}

absl::Status FileError(absl::string_view name, int error) {
  return absl::UnavailableError(
      absl::StrCat("the registry could not ", kBackingUp, ": its file ", name,
                   " cannot be read: ", std::strerror(error)));
}

}  // namespace

BackupFileReader::~BackupFileReader() { close(fd_); }

absl::StatusOr<bool> BackupFileReader::Next(std::string* chunk) {
  chunk->resize(std::min<uint64_t>(kBlobChunkBytes, size_bytes_ - num_read_));
  size_t filled = 0;
  while (filled < chunk->size()) {
    const ssize_t got =
        read(fd_, chunk->data() + filled, chunk->size() - filled);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return FileError(name_, errno);
    }
    if (got == 0) {
      return absl::DataLossError(absl::StrCat(
          "the registry could not ", kBackingUp, ": its file ", name_,
          " ends after ", num_read_ + filled, " of ", size_bytes_, " bytes"));
    }
    filled += static_cast<size_t>(got);
  }
  num_read_ += filled;
  hash_.Update(*chunk);
  return filled > 0;
}

RegistryBackup::RegistryBackup(StoreContext* context)
    : context_(context), folder_(FolderOf(*context)) {}

RegistryBackup::~RegistryBackup() {
  RemoveLeftovers(context_);
  context_->backup_lives = false;
}

absl::StatusOr<std::unique_ptr<RegistryBackup>> RegistryBackup::Begin(
    StoreContext* context) {
  RETURN_IF_ERROR(context->EnsureWritable());
  if (context->backup_lives.exchange(true)) {
    return absl::FailedPreconditionError(
        "the registry is being backed up already; begin again when that "
        "backup has ended");
  }
  std::unique_ptr<RegistryBackup> backup(new RegistryBackup(context));
  RETURN_IF_ERROR(backup->LinkFiles());
  RETURN_IF_ERROR(backup->ListFiles());
  return backup;
}

void RegistryBackup::RemoveLeftovers(StoreContext* context) {
  for (const char* suffix : {"", kUnfinished}) {
    const std::string folder = FolderOf(*context) + suffix;
    std::error_code error;
    fs::remove_all(folder, error);
    if (error) {
      context->options.log(
          Severity::kWarning,
          absl::StrCat("could not remove the folder of a backup, ", folder,
                       ": ", error.message()));
    }
  }
}

absl::Status RegistryBackup::LinkFiles() {
  // What is in memory must be written first; a disk that fills up on the way
  // would make the registry read-only.
  const uint64_t free = context_->db->FreeDiskBytes();
  if (free < context_->options.reserve_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the registry's disk has ", free, " bytes free; a backup takes up to ",
        context_->options.reserve_bytes, " for a moment: free some space"));
  }
  ASSIGN_OR_RETURN(const RocksDb::Use db, context_->db->Acquire());
  rocksdb::Checkpoint* raw = nullptr;
  RETURN_IF_ERROR(context_->db->Convert(rocksdb::Checkpoint::Create(&*db, &raw),
                                        kBackingUp));
  const std::unique_ptr<rocksdb::Checkpoint> checkpoint(raw);
  return context_->db->Convert(
      checkpoint->CreateCheckpoint(folder_, /*log_size_for_flush=*/0),
      kBackingUp);
}

absl::Status RegistryBackup::ListFiles() {
  std::error_code error;
  for (fs::directory_iterator it(folder_, error), end; it != end && !error;
       it.increment(error)) {
    const uint64_t size_bytes = it->file_size(error);
    files_.push_back({it->path().filename().string(), size_bytes});
  }
  if (error) {
    return absl::UnavailableError(
        absl::StrCat("the registry could not ", kBackingUp,
                     ": its files cannot be listed: ", error.message()));
  }
  std::sort(files_.begin(), files_.end(),
            [](const File& a, const File& b) { return a.name < b.name; });
  return absl::OkStatus();
}

uint64_t RegistryBackup::size_bytes() const {
  uint64_t sum = 0;
  for (const File& file : files_) {
    sum += file.size_bytes;
  }
  return sum;
}

uint32_t RegistryBackup::format_version() const { return kStoreFormat; }

absl::StatusOr<std::unique_ptr<BackupFileReader>> RegistryBackup::OpenFile(
    size_t index) const {
  const File& file = files_[index];
  const int fd =
      open(absl::StrCat(folder_, "/", file.name).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return FileError(file.name, errno);
  }
  return std::make_unique<BackupFileReader>(file.name, fd, file.size_bytes);
}

}  // namespace stockpot
