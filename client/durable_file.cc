#include "client/durable_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/status_macros.h"

namespace stockpot {
namespace {

namespace fs = std::filesystem;

// Synced in such steps: a slow disk that takes minutes for one sync of it all
// would look to the server like a client that has gone silent.
constexpr size_t kSyncBytes = size_t{16} << 20;

absl::Status WriteError(const fs::path& path, int error) {
  return absl::ResourceExhaustedError(
      absl::StrCat(path.string(), ": writing failed: ", std::strerror(error)));
}

}  // namespace

DurableFile::DurableFile(fs::path path, int fd)
    : path_(std::move(path)), fd_(fd) {}

DurableFile::~DurableFile() {
  if (fd_ >= 0) {
    close(fd_);
  }
}

absl::StatusOr<std::unique_ptr<DurableFile>> DurableFile::Create(
    fs::path path) {
  const int fd =
      open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0 && errno == EEXIST) {
    return absl::AlreadyExistsError(
        absl::StrCat(path.string(), " is there already"));
  }
  if (fd < 0) {
    return absl::PermissionDeniedError(
        absl::StrCat(path.string(), " cannot be made: ", std::strerror(errno)));
  }
  // Not make_unique: the constructor is private.
  return std::unique_ptr<DurableFile>(new DurableFile(std::move(path), fd));
}

absl::Status DurableFile::Append(absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) {
      continue;
    }
    if (written < 0) {
      return WriteError(path_, errno);
    }
    bytes.remove_prefix(static_cast<size_t>(written));
    num_unsynced_ += static_cast<size_t>(written);
  }
  if (num_unsynced_ >= kSyncBytes) {
    num_unsynced_ = 0;
    if (fdatasync(fd_) != 0) {
      return WriteError(path_, errno);
    }
  }
  return absl::OkStatus();
}

absl::Status DurableFile::Close() {
  const bool synced = fsync(fd_) == 0;
  const int error = errno;
  const bool closed = close(std::exchange(fd_, -1)) == 0;
  return synced && closed ? absl::OkStatus()
                          : WriteError(path_, synced ? errno : error);
}

absl::Status SyncFolder(const fs::path& folder) {
  const int fd = open(folder.empty() ? "." : folder.c_str(),
                      O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = fd >= 0 && fsync(fd) == 0;
  const int error = errno;
  if (fd >= 0) {
    close(fd);
  }
  return synced ? absl::OkStatus() : WriteError(folder, error);
}

absl::Status RenameDurably(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (error) {
    return absl::PermissionDeniedError(
        absl::StrCat(from.string(), " cannot be renamed to ", to.string(), ": ",
                     error.message()));
  }
  return SyncFolder(to.parent_path());
}

absl::Status ClaimEmptyFolder(const fs::path& path, bool* made) {
  std::error_code error;
  *made = fs::create_directory(path, error);
  if (error) {
    // As when it is a file, or the folder above is missing.
    return absl::PermissionDeniedError(
        absl::StrCat(path.string(), " cannot be made: ", error.message()));
  }
  if (!*made && !fs::is_empty(path, error)) {
    return absl::AlreadyExistsError(absl::StrCat(
        path.string(), error
                           ? absl::StrCat(" cannot be read: ", error.message())
                           : " holds something; expected an empty folder or "
                             "one that is not there yet"));
  }
  return absl::OkStatus();
}

}  // namespace stockpot
