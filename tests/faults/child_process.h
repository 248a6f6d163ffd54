// Runs a function in a forked child that talks through a pipe, so that a test
// can kill it, or outlive its abort.
//
// REQUIRES: the calling process has one thread; so it never opens a store.

#ifndef STOCKPOT_TESTS_FAULTS_CHILD_PROCESS_H_
#define STOCKPOT_TESTS_FAULTS_CHILD_PROCESS_H_

#include <sys/types.h>

#include <functional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace stockpot::testing {

// Writes whole lines to the parent; from any thread.
class LineWriter {
 public:
  explicit LineWriter(int fd) : fd_(fd) {}
  // `line` without its end; at most 4095 bytes, so that lines do not mix.
  void Say(absl::string_view line) const;

 private:
  const int fd_;
};

class ChildProcess {
 public:
  // The child runs `body` and leaves with what it returns, without running
  // destructors of the parent's objects.
  explicit ChildProcess(const std::function<int(const LineWriter&)>& body);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // Waits for a line; false at the end of what it says.
  bool ReadLine(std::string* line);

  void Kill();

  // Waits for its end. Its exit status, or minus the signal that ended it.
  int Wait();

 private:
  pid_t pid_ = -1;
  int fd_ = -1;
  std::string read_;
};

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_FAULTS_CHILD_PROCESS_H_
