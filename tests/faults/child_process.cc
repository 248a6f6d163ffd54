#include "tests/faults/child_process.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace stockpot::testing {

void LineWriter::Say(absl::string_view line) const {
  const std::string whole = absl::StrCat(line, "\n");
  if (write(fd_, whole.data(), whole.size()) !=
      static_cast<ssize_t>(whole.size())) {
    _exit(120);
  }
}

ChildProcess::ChildProcess(const std::function<int(const LineWriter&)>& body) {
  int fds[2];
  if (pipe(fds) != 0) {
    std::abort();
  }
  std::fflush(nullptr);
  pid_ = fork();
  if (pid_ == 0) {
    close(fds[0]);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    _exit(body(LineWriter(fds[1])));
  }
  close(fds[1]);
  fd_ = fds[0];
}

ChildProcess::~ChildProcess() {
  if (pid_ > 0) {
    Kill();
    Wait();
  }
  close(fd_);
}

bool ChildProcess::ReadLine(std::string* line) {
  for (;;) {
    const size_t end = read_.find('\n');
    if (end != std::string::npos) {
      line->assign(read_, 0, end);
      read_.erase(0, end + 1);
      return true;
    }
    char buffer[1 << 14];
    const ssize_t size = read(fd_, buffer, sizeof(buffer));
    if (size <= 0) {
      return false;
    }
    read_.append(buffer, static_cast<size_t>(size));
  }
}

void ChildProcess::Kill() { kill(pid_, SIGKILL); }

int ChildProcess::Wait() {
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace stockpot::testing
