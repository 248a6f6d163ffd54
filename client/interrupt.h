// Interrupt turns Ctrl-C into the cancellation of the calls that run.
// Thread-safe.

#ifndef STOCKPOT_CLIENT_INTERRUPT_H_
#define STOCKPOT_CLIENT_INTERRUPT_H_

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include <grpcpp/client_context.h>

#include "base/mutex.h"

namespace stockpot {

class Interrupt {
 public:
  // While it lives, Trigger() cancels the call of `context`; at once if
  // Trigger() was called before.
  class Watch {
   public:
    Watch(Interrupt& interrupt, grpc::ClientContext& context);
    ~Watch();
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

   private:
    Interrupt& interrupt_;
    grpc::ClientContext& context_;
  };

  // Returns whether there was a call to cancel. If not, or if it was called
  // before, the caller had better end the process.
  bool Trigger() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  Mutex mu_;
  absl::flat_hash_set<grpc::ClientContext*> watched_ ABSL_GUARDED_BY(mu_);
  bool is_triggered_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_INTERRUPT_H_
