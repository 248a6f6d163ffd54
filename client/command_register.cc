#include "client/command_register.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <ostream>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

#include "proto/stockpot/v1/registry.pb.h"

#include "base/mutex.h"
#include "base/status_macros.h"
#include "client/adapter_directory.h"
#include "client/text.h"

namespace stockpot {
namespace {

// Hands on whole lines when it is flushed, each behind the name of the
// directory that it is about: several threads write to one stream.
class TaggedLines : public std::stringbuf {
 public:
  // `mu` guards `out`; both outlive it.
  TaggedLines(std::string tag, std::ostream* out, Mutex* mu)
      : tag_(std::move(tag)), out_(out), mu_(mu) {}

 private:
  int sync() override {
    std::istringstream lines(str());
    str("");
    MutexLock lock(mu_);
    for (std::string line; std::getline(lines, line);) {
      *out_ << tag_ << ": " << line << '\n';
    }
    out_->flush();
    return 0;
  }

  const std::string tag_;
  std::ostream* const out_;
  Mutex* const mu_;
};

// One command's directories, and what became of each.
class Batch {
 public:
  Batch(const RegisterAllOptions& options, const Connection& connection,
        Terminal& terminal)
      : options_(options),
        connection_(connection),
        terminal_(terminal),
        outcomes_(options.directories.size()) {}

  absl::Status Run() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Outcome {
    absl::Status status;
    std::string out;  // For standard output.
  };

  // Registers one directory after the other until none is left.
  void Work() ABSL_LOCKS_EXCLUDED(mu_);
  // The next directory to begin; nullopt once none is left, or after Ctrl-C.
  std::optional<size_t> Next() ABSL_LOCKS_EXCLUDED(mu_);
  Outcome Register(const std::string& directory) ABSL_LOCKS_EXCLUDED(mu_);
  // Shows it as soon as all before it are shown.
  void Finish(size_t index, Outcome outcome) ABSL_LOCKS_EXCLUDED(mu_);

  const RegisterAllOptions& options_;
  const Connection& connection_;
  Terminal& terminal_;

  Mutex mu_;  // Guards the terminal's streams too.
  size_t num_begun_ ABSL_GUARDED_BY(mu_) = 0;
  size_t num_shown_ ABSL_GUARDED_BY(mu_) = 0;
  bool is_cancelled_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::optional<Outcome>> outcomes_ ABSL_GUARDED_BY(mu_);
};

std::optional<size_t> Batch::Next() {
  MutexLock lock(&mu_);
  if (is_cancelled_ || num_begun_ == outcomes_.size()) {
    return std::nullopt;
  }
  return num_begun_++;
}

Batch::Outcome Batch::Register(const std::string& directory) {
  TaggedLines lines(PrintableText(directory), &terminal_.err, &mu_);
  std::ostream err(&lines);
  std::ostringstream out;
  // No progress bars: there is one line for them, and several directories.
  Terminal terminal{.in = terminal_.in, .out = out, .err = err};
  terminal.columns = terminal_.columns;
  RegisterOptions options = options_.each;
  options.directory = directory;
  Outcome outcome;
  outcome.status = RunRegister(options, connection_, terminal);
  err.flush();
  outcome.out = out.str();
  return outcome;
}

void Batch::Finish(size_t index, Outcome outcome) {
  MutexLock lock(&mu_);
  is_cancelled_ = is_cancelled_ || absl::IsCancelled(outcome.status);
  outcomes_[index] = std::move(outcome);
  for (; num_shown_ < outcomes_.size() && outcomes_[num_shown_].has_value();
       ++num_shown_) {
    const Outcome& next = *outcomes_[num_shown_];
    terminal_.out << next.out << std::flush;
    if (!next.status.ok()) {
      terminal_.err << PrintableText(options_.directories[num_shown_]) << ": "
                    << absl::StatusCodeToString(next.status.code()) << ": "
                    << PrintableText(next.status.message()) << '\n'
                    << std::flush;
    }
  }
}

void Batch::Work() {
  while (const std::optional<size_t> index = Next()) {
    Finish(*index, Register(options_.directories[*index]));
  }
}

absl::Status Batch::Run() {
  const size_t num_threads =
      std::min(static_cast<size_t>(options_.jobs), options_.directories.size());
  std::vector<std::thread> threads;
  while (threads.size() < num_threads) {
    threads.emplace_back([this] { Work(); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  MutexLock lock(&mu_);
  size_t num_failed = 0;
  absl::StatusCode code = absl::StatusCode::kOk;
  for (const std::optional<Outcome>& outcome : outcomes_) {
    if (outcome.has_value() && outcome->status.ok()) {
      continue;
    }
    ++num_failed;
    if (code == absl::StatusCode::kOk && outcome.has_value()) {
      code = outcome->status.code();
    }
  }
  if (num_failed == 0) {
    return absl::OkStatus();
  }
  return absl::Status(is_cancelled_ ? absl::StatusCode::kCancelled : code,
                      absl::StrCat(num_failed, " of ", outcomes_.size(),
                                   " directories are not registered; the same "
                                   "command tries them again"));
}

// Errors: InvalidArgument.
absl::Status CheckSeveral(const RegisterAllOptions& options) {
  const RegisterOptions& each = options.each;
  const absl::string_view one = !each.name.empty()            ? "--name"
                                : each.version.has_value()    ? "--version"
                                : each.signature_file.empty() ? ""
                                                              : "--signature";
  if (!one.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        one, " is for one directory, and ", options.directories.size(),
        " are given: each is called as its directory, gets its next version "
        "and is signed by its own model.sig; register this one by itself"));
  }
  std::map<std::string, std::string> directories;  // By name.
  for (const std::string& directory : options.directories) {
    const std::string name = DirectoryName(directory);
    const auto [other, is_new] = directories.try_emplace(name, directory);
    // One that cannot be found has no name; it gets a line of its own.
    if (!is_new && !name.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(
          other->second, " and ", directory, " would both be called '", name,
          "'; register them by themselves, each with a --name"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RunRegisterAll(const RegisterAllOptions& options,
                            const Connection& connection, Terminal& terminal) {
  if (options.directories.size() == 1) {
    RegisterOptions only = options.each;
    only.directory = options.directories.front();
    return RunRegister(only, connection, terminal);
  }
  RETURN_IF_ERROR(CheckSeveral(options));
  return Batch(options, connection, terminal).Run();
}

}  // namespace stockpot
