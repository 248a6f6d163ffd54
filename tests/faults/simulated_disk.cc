// The C library's fortified inline functions would stand in the way of ours.
#undef _FORTIFY_SOURCE

#include "tests/faults/simulated_disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace stockpot::testing {
namespace {

constexpr size_t kPage = 4096;

// The kernel's calls, past our own definitions.
int RawOpen(const std::string& path, int flags, mode_t mode = 0644) {
  return static_cast<int>(
      syscall(SYS_openat, AT_FDCWD, path.c_str(), flags | O_CLOEXEC, mode));
}
void RawClose(int fd) { syscall(SYS_close, fd); }

std::string ReadRest(int fd, size_t offset) {
  std::string bytes;
  char buffer[1 << 16];
  for (long size; (size = syscall(SYS_pread64, fd, buffer, sizeof(buffer),
                                  offset + bytes.size())) > 0;) {
    bytes.append(buffer, static_cast<size_t>(size));
  }
  return bytes;
}

void WriteWhole(const std::string& path, const std::string& bytes) {
  const int fd = RawOpen(path, O_WRONLY | O_CREAT | O_TRUNC);
  for (size_t at = 0; at < bytes.size();) {
    const long size =
        syscall(SYS_write, fd, bytes.data() + at, bytes.size() - at);
    if (size <= 0) {
      abort();
    }
    at += static_cast<size_t>(size);
  }
  RawClose(fd);
}

// One file's content, under whatever names it has.
struct Content {
  int fd = -1;          // For reading what the program sees.
  std::string durable;  // What the disk has.
  // Bytes from here on may differ from `durable`.
  size_t dirty_from = 0;
  // A sync failed: what comes later does not reach the disk.
  bool lost = false;

  std::string Now() const { return ReadRest(fd, 0); }
};
using ContentPtr = std::shared_ptr<Content>;

// A change of a name that is not yet durable.
struct NameChange {
  std::string name;
  ContentPtr content;  // Null: the name goes.
};

class Disk {
 public:
  void Arm(const DiskFaults& faults);
  bool armed() const { return armed_; }

  std::mutex mu;
  DiskFaults faults;
  DiskCalls calls;
  std::map<int, ContentPtr> files;  // By descriptor.
  std::map<int, bool> folders;      // Descriptors of the folder.
  ContentPtr last_written;

  // "" for a path outside the folder, else the name in it.
  std::string NameIn(const char* path) const;
  ContentPtr Find(const std::string& name) {
    const auto found = names_.find(name);
    return found == names_.end() ? nullptr : found->second;
  }
  // Makes or moves a name; null removes it.
  void SetName(const std::string& name, ContentPtr content);
  void SyncFolder();
  void SyncFile(const ContentPtr& content);
  // Counts a changing call; true: the power goes now.
  bool Tick() { return ++calls.changes == faults.power_off_at; }
  bool Fails(uint64_t number, uint64_t at) const {
    return at != 0 && (number == at || (faults.keep_failing && number > at));
  }
  bool IgnoresSync(const std::string& name) const;
  std::string NameOf(const ContentPtr& content) const;
  [[noreturn]] void PowerOff();

 private:
  std::string Survivor(const Content& content, std::mt19937_64& random) const;

  bool armed_ = false;
  std::map<std::string, ContentPtr> names_;    // As the program sees them.
  std::map<std::string, ContentPtr> durable_;  // As the disk has them.
  std::vector<NameChange> pending_;
};

// Leaked: the C library's functions outlive every destructor.
Disk& TheDisk() {
  static Disk* const disk = new Disk;
  return *disk;
}

void Disk::Arm(const DiskFaults& armed_faults) {
  faults = armed_faults;
  if (DIR* const dir = opendir(faults.folder.c_str())) {
    while (const dirent* const entry = readdir(dir)) {
      const std::string name = entry->d_name;
      if (name == "." || name == "..") {
        continue;
      }
      auto content = std::make_shared<Content>();
      content->fd = RawOpen(faults.folder + "/" + name, O_RDONLY);
      content->durable = content->Now();
      content->dirty_from = content->durable.size();
      names_[name] = content;
    }
    closedir(dir);
  }
  durable_ = names_;
  armed_ = true;
}

std::string Disk::NameIn(const char* path) const {
  const std::string text = path;
  const std::string prefix = faults.folder + "/";
  if (!armed_ || text.compare(0, prefix.size(), prefix) != 0) {
    return "";
  }
  return text.substr(text.find_first_not_of('/', prefix.size()));
}

void Disk::SetName(const std::string& name, ContentPtr content) {
  if (content == nullptr) {
    names_.erase(name);
  } else {
    names_[name] = content;
  }
  pending_.push_back({name, std::move(content)});
}

void Disk::SyncFolder() {
  for (const NameChange& change : pending_) {
    if (change.content == nullptr) {
      durable_.erase(change.name);
    } else {
      durable_[change.name] = change.content;
    }
  }
  pending_.clear();
}

void Disk::SyncFile(const ContentPtr& content) {
  if (content->lost) {
    return;
  }
  const size_t from = std::min(content->dirty_from, content->durable.size());
  content->durable.resize(from);
  content->durable += ReadRest(content->fd, from);
  content->dirty_from = content->durable.size();
}

std::string Disk::NameOf(const ContentPtr& content) const {
  for (const auto& [name, other] : names_) {
    if (other == content) {
      return name;
    }
  }
  return "";
}

bool Disk::IgnoresSync(const std::string& name) const {
  const std::string& suffix = faults.ignored_suffix;
  return faults.ignore_syncs && name.size() >= suffix.size() &&
         name.compare(name.size() - suffix.size(), suffix.size(), suffix) == 0;
}

// What a restart finds of a file.
std::string Disk::Survivor(const Content& content,
                           std::mt19937_64& random) const {
  if (content.lost) {
    return content.durable;
  }
  if (faults.keep_last_written) {
    return &content == last_written.get() ? content.Now() : content.durable;
  }
  if (!faults.keep_random_part) {
    return content.durable;
  }
  const std::string now = content.Now();
  std::string bytes = content.durable;
  for (size_t page = content.dirty_from / kPage * kPage; page < now.size();
       page += kPage) {
    if (random() % 2 == 0) {
      continue;
    }
    size_t size = std::min(kPage, now.size() - page);
    if (page + size > bytes.size() && random() % 4 == 0) {
      // The last page that came, in part; never less than what was durable.
      const size_t old = bytes.size() > page ? bytes.size() - page : 0;
      size = std::max(old, random() % (size + 1));
    }
    bytes.resize(std::max(bytes.size(), page + size), '\0');
    bytes.replace(page, size, now, page, size);
  }
  return bytes;
}

void Disk::PowerOff() {
  std::mt19937_64 random(faults.seed);
  if (!faults.keep_last_written) {
    pending_.resize(faults.keep_random_part ? random() % (pending_.size() + 1)
                                            : 0);
  }
  SyncFolder();
  mkdir(faults.image.c_str(), 0755);
  for (const auto& [name, content] : durable_) {
    WriteWhole(faults.image + "/" + name, Survivor(*content, random));
  }
  kill(getpid(), SIGKILL);
  for (;;) {
    pause();
  }
}

// Writes by `call(bytes, size)`, or in part and fails, as the faults say.
template <typename Call>
ssize_t WriteThrough(int fd, size_t offset, size_t size, const Call& call) {
  Disk& disk = TheDisk();
  const ContentPtr content = disk.files.at(fd);
  content->dirty_from = std::min(content->dirty_from, offset);
  disk.last_written = content;
  if (disk.Tick()) {
    call(size / 2);
    disk.PowerOff();
  }
  if (disk.Fails(++disk.calls.writes, disk.faults.fail_write_at)) {
    ++disk.calls.failed;
    call(size / 2);
    errno = disk.faults.write_errno;
    return -1;
  }
  return call(size);
}

int Sync(int fd, int number) {
  Disk& disk = TheDisk();
  const std::lock_guard<std::mutex> lock(disk.mu);
  const auto file = disk.files.find(fd);
  const bool is_folder = disk.folders.count(fd) > 0;
  if (!disk.armed() || (file == disk.files.end() && !is_folder)) {
    return static_cast<int>(syscall(number, fd));
  }
  if (disk.Tick()) {
    disk.PowerOff();
  }
  if (disk.Fails(++disk.calls.syncs, disk.faults.fail_sync_at)) {
    ++disk.calls.failed;
    if (!is_folder) {
      file->second->lost = true;
    }
    errno = EIO;
    return -1;
  }
  if (is_folder) {
    if (!disk.IgnoresSync("")) {
      disk.SyncFolder();
    }
  } else if (!disk.IgnoresSync(disk.NameOf(file->second))) {
    disk.SyncFile(file->second);
  }
  return 0;  // The real disk need not work.
}

}  // namespace

void ArmDisk(const DiskFaults& faults) {
  Disk& disk = TheDisk();
  const std::lock_guard<std::mutex> lock(disk.mu);
  disk.Arm(faults);
}

DiskCalls CountDiskCalls() {
  Disk& disk = TheDisk();
  const std::lock_guard<std::mutex> lock(disk.mu);
  return disk.calls;
}

void PowerOff() {
  TheDisk().mu.lock();
  TheDisk().PowerOff();
}

}  // namespace stockpot::testing

namespace {

using stockpot::testing::ContentPtr;
using stockpot::testing::TheDisk;

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0) {
    va_list arguments;
    va_start(arguments, flags);
    mode = va_arg(arguments, mode_t);
    va_end(arguments);
  }
  auto& disk = TheDisk();
  const std::lock_guard<std::mutex> lock(disk.mu);
  const std::string name = disk.NameIn(path);
  const bool is_folder = disk.armed() && path == disk.faults.folder;
  ContentPtr content = name.empty() ? nullptr : disk.Find(name);
  const bool makes =
      !name.empty() && content == nullptr && (flags & O_CREAT) != 0;
  if (makes && disk.Tick()) {
    disk.PowerOff();
  }
  const int fd =
      static_cast<int>(syscall(SYS_openat, AT_FDCWD, path, flags, mode));
  if (fd < 0) {
    return fd;
  }
  if (is_folder) {
    disk.folders[fd] = true;
  }
  if (name.empty() || (flags & (O_WRONLY | O_RDWR)) == 0) {
    return fd;
  }
  if (makes) {
    content = std::make_shared<ContentPtr::element_type>();
    content->fd = static_cast<int>(
        syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0));
    disk.SetName(name, content);
  }
  if ((flags & O_TRUNC) != 0) {
    content->dirty_from = 0;
  }
  disk.files[fd] = content;
  return fd;
}

int close(int fd) {
  auto& disk = TheDisk();
  const std::lock_guard<std::mutex> lock(disk.mu);
  disk.files.erase(fd);
  disk.folders.erase(fd);
  return static_cast<int>(syscall(SYS_close, fd));
}

ssize_t write(int fd, const void* bytes, size_t size) {
  auto& disk = TheDisk();
  std::unique_lock<std::mutex> lock(disk.mu);
  if (disk.files.count(fd) == 0) {
    // A pipe may block: not under the lock.
    lock.unlock();
    return syscall(SYS_write, fd, bytes, size);
  }
  const auto offset = static_cast<size_t>(syscall(SYS_lseek, fd, 0, SEEK_CUR));
  return stockpot::testing::WriteThrough(fd, offset, size, [&](size_t part) {
    return syscall(SYS_write, fd, bytes, part);
  });
}

ssize_t pwrite(int fd, const void* bytes, size_t size, off_t offset) {
  auto& disk = TheDisk();
  const std::lock_guard<std::mutex> lock(disk.mu);
  const auto call = [&](size_t part) {
    return syscall(SYS_pwrite64, fd, bytes, part, offset);
  };
  return disk.files.count(fd) == 0
             ? call(size)
             : stockpot::testing::WriteThrough(fd, static_cast<size_t>(offset),
                                               size, call);
}

int ftruncate(int fd, off_t size) noexcept {
  auto& disk = TheDisk();
  const std::lock_guard<std::mutex> lock(disk.mu);
  const auto file = disk.files.find(fd);
  if (file != disk.files.end()) {
    if (disk.Tick()) {
      disk.PowerOff();
    }
    file->second->dirty_from =
        std::min(file->second->dirty_from, static_cast<size_t>(size));
  }
  return static_cast<int>(syscall(SYS_ftruncate, fd, size));
}

int rename(const char* from, const char* to) noexcept {
  auto& disk = TheDisk();
  const std::lock_guard<std::mutex> lock(disk.mu);
  const std::string old_name = disk.NameIn(from);
  const std::string new_name = disk.NameIn(to);
  if (!old_name.empty() && disk.Tick()) {
    disk.PowerOff();
  }
  const int result =
      static_cast<int>(syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
  if (result == 0 && !old_name.empty()) {
    // A rename is one change on disk: the new name first, so that no cut
    // between the two loses both.
    disk.SetName(new_name, disk.Find(old_name));
    disk.SetName(old_name, nullptr);
  }
  return result;
}

int unlink(const char* path) noexcept {
  auto& disk = TheDisk();
  const std::lock_guard<std::mutex> lock(disk.mu);
  const std::string name = disk.NameIn(path);
  if (!name.empty() && disk.Tick()) {
    disk.PowerOff();
  }
  const int result = static_cast<int>(syscall(SYS_unlinkat, AT_FDCWD, path, 0));
  if (result == 0 && !name.empty()) {
    disk.SetName(name, nullptr);
  }
  return result;
}

int fsync(int fd) { return stockpot::testing::Sync(fd, SYS_fsync); }
int fdatasync(int fd) { return stockpot::testing::Sync(fd, SYS_fdatasync); }

}  // extern "C"
