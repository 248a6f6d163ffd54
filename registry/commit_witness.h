// The CommitWitness is a small file beside the database that says how many
// changes the registry acknowledged. It is the second opinion that a database
// without its last changes cannot give about itself.
//
// Policy: written after each synced write, before the acknowledgement, and
// synced only when the database is opened: a number that is too small is
// harmless, and a power failure can make it no larger. A witness that is
// missing or damaged is replaced. Not thread-safe; RocksDb synchronises.

#ifndef STOCKPOT_REGISTRY_COMMIT_WITNESS_H_
#define STOCKPOT_REGISTRY_COMMIT_WITNESS_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace stockpot {

class CommitWitness {
 public:
  // The file's name inside the registry's folder.
  static constexpr char kFileName[] = "WITNESS";

  explicit CommitWitness(std::string path) : path_(std::move(path)) {}
  ~CommitWitness();
  CommitWitness(const CommitWitness&) = delete;
  CommitWitness& operator=(const CommitWitness&) = delete;

  // Errors: NotFound (no such file); DataLoss (unreadable).
  absl::StatusOr<uint64_t> Read() const;

  // Makes the file if it is missing. Errors: Unavailable.
  absl::Status Write(uint64_t num_commits);

  // Makes durable what was written, and the file's name. Errors: Unavailable.
  absl::Status Sync();

 private:
  const std::string path_;
  int fd_ = -1;
};

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_COMMIT_WITNESS_H_
