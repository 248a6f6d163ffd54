// A VerifyReactor tells a client how a check of the registry goes on, at most
// twice a second, and how it ended. Deletes itself.
//
// The scrubber's thread never waits for the client: what it says while a
// message is on its way replaces what it said before. A client that goes away
// ends the check, and one that takes nothing for IdleWatch's timeout is cut.

#ifndef STOCKPOT_SERVER_VERIFY_REACTOR_H_
#define STOCKPOT_SERVER_VERIFY_REACTOR_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "proto/stockpot/v1/admin.pb.h"

#include "base/metrics.h"
#include "base/mutex.h"
#include "registry/scrubber.h"
#include "server/idle_watch.h"

namespace stockpot {

class VerifyReactor final
    : public grpc::ServerWriteReactor<v1::VerifyRegistryResponse>,
      private ScrubWatcher {
 public:
  // All must outlive the call.
  VerifyReactor(grpc::CallbackServerContext* context,
                const v1::VerifyRegistryRequest& request, Scrubber* scrubber,
                IdleWatch* idle, Metrics* metrics);

 private:
  void OnWriteDone(bool ok) override ABSL_LOCKS_EXCLUDED(mu_);
  void OnCancel() override ABSL_LOCKS_EXCLUDED(mu_);
  void OnDone() override;
  void OnProgress(const ScrubProgress& progress) override
      ABSL_LOCKS_EXCLUDED(mu_);
  void OnEnd(const absl::Status& status, const ScrubProgress& progress) override
      ABSL_LOCKS_EXCLUDED(mu_);

  void Fill(const ScrubProgress& progress) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Ends the call as `end_` says; it may be gone on return. REQUIRES: the check
  // has ended and no message is on its way, so that nobody else comes here.
  void End() ABSL_NO_THREAD_SAFETY_ANALYSIS;

  Scrubber* const scrubber_;
  Metrics* const metrics_;
  const std::shared_ptr<IdleWatch::Guard> guard_;
  Mutex mu_;
  std::optional<uint64_t> id_ ABSL_GUARDED_BY(mu_);
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  absl::Time next_write_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
  // How the check ended, and its last word, if that could not be sent at once.
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mu_);
  ScrubProgress last_word_ ABSL_GUARDED_BY(mu_);
  v1::VerifyRegistryResponse message_ ABSL_GUARDED_BY(mu_);
};

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_VERIFY_REACTOR_H_
