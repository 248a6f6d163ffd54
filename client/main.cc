// `stockpot`: the command line of a Stockpot server.

#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "client/command_line.h"
#include "client/exit_code.h"
#include "client/interrupt.h"
#include "client/terminal.h"

namespace stockpot {
namespace {

int TerminalColumns() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    return size.ws_col;
  }
  return 80;
}

// Waits for Ctrl-C on a thread of its own, where, unlike in a signal handler,
// a call may be cancelled. The first one cancels it; if there is none to
// cancel, or it will not end, the process does.
void StartSignalThread(const std::shared_ptr<Interrupt>& interrupt) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  // Before any other thread starts: they inherit it.
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread([signals, interrupt] {
    while (true) {
      int signal = 0;
      if (sigwait(&signals, &signal) == 0 && !interrupt->Trigger()) {
        _exit(kExitCancelled);
      }
    }
  }).detach();
}

int Main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  std::cin.tie(nullptr);
  // Shared with a thread that runs until the process ends.
  const auto interrupt = std::make_shared<Interrupt>();
  StartSignalThread(interrupt);
  Terminal terminal{.in = std::cin,
                    .out = std::cout,
                    .err = std::cerr,
                    .in_is_terminal = isatty(STDIN_FILENO) != 0,
                    .out_is_terminal = isatty(STDOUT_FILENO) != 0,
                    .err_is_terminal = isatty(STDERR_FILENO) != 0,
                    .columns = TerminalColumns()};
  const std::vector<std::string> args(argv + 1, argv + argc);
  const ExitCode code = RunCommandLine(args, terminal, *interrupt);
  if (!std::cout.flush()) {
    std::cerr << "stockpot: standard output cannot be written\n";
    return code == kExitOk ? kExitFailure : code;
  }
  return code;
}

}  // namespace
}  // namespace stockpot

int main(int argc, char** argv) { return stockpot::Main(argc, argv); }
