// Fills the disk under a registry at many different points: nothing aborts,
// uploads are refused as RESOURCE_EXHAUSTED, reads go on, writes come back by
// themselves with the space, and a restart on a full disk serves read-only and
// says so. Needs the right to mount; skipped without.

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"

#include "registry/adapter_store.h"
#include "registry/rocks_store.h"
#include "tests/faults/child_process.h"
#include "tests/faults/fault_form.h"
#include "tests/registry/store_fixture.h"

namespace stockpot::testing {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMiB = size_t{1} << 20;
constexpr size_t kKept = 2;  // Adapters that are there before.
constexpr size_t kUploadBytes = 1'500'000;

std::string KeptBytes(size_t i) { return RandomBytes(700'000, 50 + i); }

absl::StatusOr<std::unique_ptr<RocksStore>> OpenAt(const std::string& path) {
  RocksStoreOptions options;
  options.path = path;
  options.reserve_bytes = 0;  // The admission would refuse too early for us.
  options.write_buffer_bytes = 2 << 20;
  options.log = [](Severity, absl::string_view) {};
  return RocksStore::Open(std::move(options));
}

// Takes all free space but `left` bytes with a file `filler`.
void Fill(const std::string& mount, uint64_t left) {
  const int fd =
      open((mount + "/filler").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  const uint64_t free = fs::space(mount).available;
  if (free > left) {
    posix_fallocate(fd, 0, static_cast<off_t>(free - left));
  }
  if (left == 0) {
    // What the estimate did not count.
    lseek(fd, 0, SEEK_END);
    const std::string block(4096, 'f');
    while (write(fd, block.data(), block.size()) > 0) {
    }
  }
  close(fd);
}
void Free(const std::string& mount) { fs::remove(mount + "/filler"); }

// The steps of one case, in a child. Says "F..." for a broken promise, "R" for
// each refused write.
class Steps {
 public:
  Steps(std::string mount, const LineWriter& out)
      : mount_(std::move(mount)), out_(out) {}

  // `left`: free bytes when the uploads begin.
  void Run(uint64_t left) {
    if (!Open("first")) {
      return;
    }
    for (size_t i = 0; i < kKept; ++i) {
      Expect(Store(*store_, absl::StrCat("kept", i), KeptBytes(i)).ok(),
             "store");
    }
    Fill(mount_, left);
    UploadUntilRefused();
    CheckReads("full");
    // A restart on the full disk.
    Fill(mount_, 0);
    if (!Open("full")) {
      return;
    }
    CheckReads("restarted");
    CheckFullRestart();
    Free(mount_);
    AwaitWrites();
    CheckReads("freed");
  }

 private:
  bool Open(absl::string_view when) {
    store_.reset();
    absl::StatusOr<std::unique_ptr<RocksStore>> store = OpenAt(mount_ + "/db");
    if (!store.ok()) {
      out_.Say(absl::StrCat("Fopen, ", when, ": ", store.status().ToString()));
      return false;
    }
    store_ = *std::move(store);
    return true;
  }

  void Expect(bool holds, absl::string_view what) {
    if (!holds) {
      out_.Say(absl::StrCat("F", what));
    }
  }

  void CheckRefusal(const absl::Status& status) {
    // Unavailable: between two attempts to open it again.
    Expect(absl::IsResourceExhausted(status) || absl::IsUnavailable(status),
           absl::StrCat("refused as ", status.ToString()));
    Expect(!absl::StrContains(status.message(), mount_),
           "a path in the answer");
    out_.Say(absl::IsResourceExhausted(status) ? "R" : "U");
  }

  // Opening may have freed space, or found too little even for its log: then
  // it reads only, and says so.
  void CheckFullRestart() {
    const bool writable = store_->Stats().writable;
    out_.Say(writable ? "W" : "O");
    Fill(mount_, 0);
    const absl::Status stored =
        Store(*store_, "more", RandomBytes(kUploadBytes, 9)).status();
    Expect(!stored.ok(), "an upload on a full disk");
    CheckRefusal(stored);
    if (!writable) {
      Expect(absl::IsResourceExhausted(stored), "says why it reads only");
      Expect(!store_->Stats().writable, "still says that it reads only");
      CheckRefusal(store_->Delete(Ref("kept0")));
    }
  }

  void UploadUntilRefused() {
    for (int i = 0; i < 40; ++i) {
      const std::string name = absl::StrCat("new", num_new_);
      const absl::Status status =
          Store(*store_, name, RandomBytes(kUploadBytes, 100 + num_new_))
              .status();
      if (!status.ok()) {
        CheckRefusal(status);
        return;
      }
      ++num_new_;
    }
    out_.Say("Fthe disk did not fill up");
  }

  // All that was acknowledged can be read.
  void CheckReads(absl::string_view when) {
    for (size_t i = 0; i < kKept + num_new_; ++i) {
      const std::string name =
          i < kKept ? absl::StrCat("kept", i) : absl::StrCat("new", i - kKept);
      const absl::StatusOr<AdapterRecord> record = store_->Get(Ref(name));
      const absl::StatusOr<std::string> bytes =
          record.ok() ? ReadBlob(*store_, record->digest)
                      : absl::StatusOr<std::string>(record.status());
      Expect(bytes.ok() &&
                 *bytes == (i < kKept
                                ? KeptBytes(i)
                                : RandomBytes(kUploadBytes, 100 + (i - kKept))),
             absl::StrCat("read of ", name, ", ", when, ": ",
                          bytes.status().ToString()));
    }
  }

  void AwaitWrites() {
    const absl::Time start = absl::Now();
    absl::Status status;
    do {
      status = Store(*store_, "after", RandomBytes(kUploadBytes, 7)).status();
      if (!status.ok()) {
        absl::SleepFor(absl::Milliseconds(50));
      }
    } while (!status.ok() && absl::Now() - start < absl::Minutes(2));
    Expect(status.ok(), absl::StrCat("writes stay away: ", status.ToString()));
    Expect(store_->Stats().writable, "says that it is writable");
    out_.Say(absl::StrCat("T", absl::ToInt64Milliseconds(absl::Now() - start)));
  }

  const std::string mount_;
  const LineWriter& out_;
  std::unique_ptr<RocksStore> store_;
  size_t num_new_ = 0;
};

class FullDiskSweepTest : public ::testing::Test {
 public:
  ~FullDiskSweepTest() override { Unmount(); }

  void Unmount() {
    if (mounted_) {
      umount2(mount_.c_str(), MNT_DETACH);
      mounted_ = false;
    }
  }

  // An empty tmpfs; false, with errno, if we may not.
  bool MountTmpfs() {
    fs::create_directories(mount_);
    mounted_ = mount("none", mount_.c_str(), "tmpfs", 0, "size=24m") == 0;
    return mounted_;
  }

  // An empty ext4 in a file.
  bool MountExt4() {
    fs::create_directories(mount_);
    const std::string image = dir_.path() + "/image";
    fs::remove(image);
    // No blocks kept for root, so that "free" means the same for all.
    mounted_ =
        std::system(absl::StrCat("truncate -s 28M ", image,
                                 " && mkfs.ext4 -q -m 0 -O ^has_journal ",
                                 image, " && mount -o loop ", image, " ",
                                 mount_, " 2>/dev/null")
                        .c_str()) == 0;
    return mounted_;
  }

  // One case for each amount of space that is left.
  void Sweep(bool (FullDiskSweepTest::*mount)(), int num_cases) {
    int64_t slowest_ms = 0;
    int num_refused = 0;
    int num_read_only = 0;
    for (int i = 0; i < num_cases; ++i) {
      if (!(this->*mount)()) {
        GTEST_SKIP() << "cannot mount: " << std::strerror(errno);
      }
      // Odd steps, so that the end falls inside chunks, commits and flushes.
      const uint64_t left = static_cast<uint64_t>(i) * 12 * kMiB / num_cases +
                            static_cast<uint64_t>(i % 7) * 1000;
      ChildProcess child([&](const LineWriter& out) {
        Steps(mount_, out).Run(left);
        return 0;
      });
      std::string line;
      while (child.ReadLine(&line)) {
        EXPECT_NE(line[0], 'F') << line << ", with " << left << " bytes left";
        num_refused += line == "R" ? 1 : 0;
        num_read_only += line == "O" ? 1 : 0;
        if (line[0] == 'T') {
          slowest_ms =
              std::max(slowest_ms, int64_t{std::atol(line.c_str() + 1)});
        }
      }
      EXPECT_EQ(child.Wait(), 0) << "with " << left << " bytes left";
      Unmount();
    }
    std::printf(
        "%d points, %d refusals, %d read-only restarts, writes back after at "
        "most %lld ms\n",
        num_cases, num_refused, num_read_only,
        static_cast<long long>(slowest_ms));
    EXPECT_GE(num_refused, num_cases);
    EXPECT_GT(num_read_only, 0);
  }

  TempDir dir_;
  const std::string mount_ = dir_.path() + "/disk";
  bool mounted_ = false;
};

TEST_F(FullDiskSweepTest, Tmpfs) {
  Sweep(&FullDiskSweepTest::MountTmpfs, Cycles(20, 300));
}

TEST_F(FullDiskSweepTest, Ext4) {
  Sweep(&FullDiskSweepTest::MountExt4, Cycles(12, 150));
}

// A limit on the size of files: writes fail with EFBIG in the middle of one.
TEST_F(FullDiskSweepTest, FileSizeLimit) {
  const int num_cases = Cycles(6, 40);
  int num_refused = 0;
  for (int i = 0; i < num_cases; ++i) {
    const std::string path = absl::StrCat(dir_.path(), "/limit", i);
    ChildProcess child([&](const LineWriter& out) {
      signal(SIGXFSZ, SIG_IGN);
      const absl::StatusOr<std::unique_ptr<RocksStore>> store = OpenAt(path);
      if (!store.ok() || !Store(**store, "kept", KeptBytes(0)).ok()) {
        out.Say("Fopen");
        return 1;
      }
      rlimit limit = {};
      getrlimit(RLIMIT_FSIZE, &limit);
      const rlim_t unlimited = limit.rlim_cur;
      limit.rlim_cur = 800'000 + static_cast<rlim_t>(i) * 100'003;
      setrlimit(RLIMIT_FSIZE, &limit);
      const absl::Status refused =
          Store(**store, "new", RandomBytes(3 * kMiB, 1)).status();
      out.Say(absl::IsUnavailable(refused) || absl::IsResourceExhausted(refused)
                  ? "R"
                  : absl::StrCat("Fupload: ", refused.ToString()));
      if (!ReadBlob(**store, (*store)->Get(Ref("kept"))->digest).ok()) {
        out.Say("Fread");
      }
      limit.rlim_cur = unlimited;
      setrlimit(RLIMIT_FSIZE, &limit);
      const absl::Time give_up = absl::Now() + absl::Minutes(1);
      while (!Store(**store, "new", RandomBytes(3 * kMiB, 1)).ok()) {
        if (absl::Now() > give_up) {
          out.Say("Fwrites stay away");
          break;
        }
        absl::SleepFor(absl::Milliseconds(20));
      }
      return 0;
    });
    std::string line;
    while (child.ReadLine(&line)) {
      EXPECT_NE(line[0], 'F') << line;
      num_refused += line == "R" ? 1 : 0;
    }
    EXPECT_EQ(child.Wait(), 0);
  }
  EXPECT_EQ(num_refused, num_cases);
}

}  // namespace
}  // namespace stockpot::testing
