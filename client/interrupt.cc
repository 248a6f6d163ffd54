#include "client/interrupt.h"

namespace stockpot {

Interrupt::Watch::Watch(Interrupt& interrupt, grpc::ClientContext& context)
    : interrupt_(interrupt), context_(context) {
  MutexLock lock(&interrupt_.mu_);
  interrupt_.watched_.insert(&context);
  if (interrupt_.is_triggered_) {
    context.TryCancel();
  }
}

Interrupt::Watch::~Watch() {
  MutexLock lock(&interrupt_.mu_);
  interrupt_.watched_.erase(&context_);
}

bool Interrupt::Trigger() {
  MutexLock lock(&mu_);
  const bool is_first = !is_triggered_;
  is_triggered_ = true;
  for (grpc::ClientContext* const context : watched_) {
    context->TryCancel();
  }
  return is_first && !watched_.empty();
}

}  // namespace stockpot
