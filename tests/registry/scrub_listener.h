// Waits for what a pass of the scrubber says of itself.

#ifndef STOCKPOT_TESTS_REGISTRY_SCRUB_LISTENER_H_
#define STOCKPOT_TESTS_REGISTRY_SCRUB_LISTENER_H_

#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"

#include "base/mutex.h"
#include "registry/scrubber.h"

namespace stockpot::testing {

// Of one pass; any thread.
class ScrubListener : public ScrubWatcher {
 public:
  void OnProgress(const ScrubProgress& progress) override {
    MutexLock lock(&mu_);
    EXPECT_LE(progress.num_checked, progress.num_blobs);
    EXPECT_GE(progress.bytes_checked, last_.bytes_checked);
    last_ = progress;
    changed_.SignalAll();
  }
  void OnEnd(const absl::Status& status,
             const ScrubProgress& progress) override {
    MutexLock lock(&mu_);
    EXPECT_FALSE(end_.has_value());
    end_ = status;
    last_ = progress;
    changed_.SignalAll();
  }

  absl::StatusOr<ScrubProgress> WaitForEnd() {
    MutexLock lock(&mu_);
    while (!end_.has_value()) {
      changed_.Wait(&mu_);
    }
    if (!end_->ok()) {
      return *end_;
    }
    return last_;
  }
  void WaitForFirstChunk() {
    MutexLock lock(&mu_);
    while (last_.bytes_checked == 0 && !end_.has_value()) {
      changed_.Wait(&mu_);
    }
  }

 private:
  Mutex mu_;
  CondVar changed_;
  ScrubProgress last_ ABSL_GUARDED_BY(mu_);
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mu_);
};

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_REGISTRY_SCRUB_LISTENER_H_
