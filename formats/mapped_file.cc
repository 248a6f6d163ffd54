#include "formats/mapped_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "base/status_macros.h"

namespace stockpot {
namespace {

// Closes a file descriptor at the end of its scope.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) {
      close(fd_);
    }
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

absl::Status ErrnoStatus(int error, absl::string_view what,
                         const std::string& path) {
  const std::string message =
      absl::StrCat("cannot ", what, " ", path, ": ", std::strerror(error));
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(message);
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(message);
    default:
      return absl::InternalError(message);
  }
}

int OpenForRead(const std::string& path) {
  // Not blocking: opening a FIFO would otherwise wait for its writer.
  return open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

// Returns the size of the regular file behind `fd`.
absl::StatusOr<size_t> RegularFileBytes(int fd, const std::string& path) {
  struct stat info;
  if (fstat(fd, &info) != 0) {
    return ErrnoStatus(errno, "stat", path);
  }
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is not a regular file"));
  }
  return static_cast<size_t>(info.st_size);
}

}  // namespace

absl::StatusOr<MappedFile> MappedFile::Open(const std::string& path) {
  const Descriptor fd(OpenForRead(path));
  if (fd.get() < 0) {
    return ErrnoStatus(errno, "open", path);
  }
  ASSIGN_OR_RETURN(const size_t size, RegularFileBytes(fd.get(), path));
  if (size == 0) {
    return MappedFile(nullptr, 0);
  }
  void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (data == MAP_FAILED) {
    return ErrnoStatus(errno, "map", path);
  }
  return MappedFile(static_cast<const char*>(data), size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  // `other` takes the old mapping along and unmaps it.
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) {
    munmap(const_cast<char*>(data_), size_);
  }
}

void MappedFile::DropPages() const {
  if (data_ != nullptr) {
    // Advice only: nothing depends on its success.
    madvise(const_cast<char*>(data_), size_, MADV_DONTNEED);
  }
}

absl::StatusOr<std::string> ReadFile(const std::string& path,
                                     size_t max_bytes) {
  const Descriptor fd(OpenForRead(path));
  if (fd.get() < 0) {
    return ErrnoStatus(errno, "open", path);
  }
  ASSIGN_OR_RETURN(const size_t size, RegularFileBytes(fd.get(), path));
  if (size > max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, " has ", size, " bytes; at most ", max_bytes, " are allowed"));
  }
  std::string text(size, '\0');
  size_t position = 0;
  while (position < size) {
    const ssize_t num_read =
        read(fd.get(), text.data() + position, size - position);
    if (num_read < 0 && errno == EINTR) {
      continue;
    }
    if (num_read < 0) {
      return ErrnoStatus(errno, "read", path);
    }
    if (num_read == 0) {
      break;
    }
    position += static_cast<size_t>(num_read);
  }
  text.resize(position);
  return text;
}

}  // namespace stockpot
