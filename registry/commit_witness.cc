#include "registry/commit_witness.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

#include "base/sha256.h"

namespace stockpot {
namespace {

constexpr absl::string_view kPrefix = "commits ";
constexpr size_t kNumberDigits = 20;
constexpr size_t kCheckDigits = 16;

// One line of always the same length, overwritten in place: a full disk has
// room for it.
std::string Encode(uint64_t num_commits) {
  const std::string number = absl::StrFormat("%020u", num_commits);
  return absl::StrCat(kPrefix, number, " ",
                      Sha256::Of(number).ToHex().substr(0, kCheckDigits), "\n");
}

}  // namespace

CommitWitness::~CommitWitness() {
  if (fd_ >= 0) {
    close(fd_);
  }
}

absl::StatusOr<uint64_t> CommitWitness::Read() const {
  const int fd = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) {
    return absl::NotFoundError(absl::StrCat("no ", path_));
  }
  char line[128];
  const ssize_t size = fd < 0 ? -1 : read(fd, line, sizeof(line));
  if (fd >= 0) {
    close(fd);
  }
  const absl::string_view text(line, size < 0 ? 0 : static_cast<size_t>(size));
  uint64_t num_commits = 0;
  if (!absl::StartsWith(text, kPrefix) ||
      !absl::SimpleAtoi(text.substr(kPrefix.size(), kNumberDigits),
                        &num_commits) ||
      text != Encode(num_commits)) {
    return absl::DataLossError(absl::StrCat(path_, " is damaged"));
  }
  return num_commits;
}

absl::Status CommitWitness::Write(uint64_t num_commits) {
  if (fd_ < 0) {
    fd_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  }
  const std::string line = Encode(num_commits);
  if (fd_ < 0 || pwrite(fd_, line.data(), line.size(), 0) !=
                     static_cast<ssize_t>(line.size())) {
    return absl::UnavailableError(
        absl::StrCat("could not write ", path_, ": ", std::strerror(errno)));
  }
  return absl::OkStatus();
}

absl::Status CommitWitness::Sync() {
  const std::string folder =
      std::filesystem::path(path_).parent_path().string();
  const int folder_fd =
      open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  // A new file's name is durable once its folder is synced (fsync(2)).
  const bool synced = fd_ >= 0 && fdatasync(fd_) == 0 && folder_fd >= 0 &&
                      fsync(folder_fd) == 0;
  const int error = errno;
  if (folder_fd >= 0) {
    close(folder_fd);
  }
  if (!synced) {
    return absl::UnavailableError(
        absl::StrCat("could not sync ", path_, ": ", std::strerror(error)));
  }
  return absl::OkStatus();
}

}  // namespace stockpot
