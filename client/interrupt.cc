#include "client/interrupt.h"

namespace stockpot {

Interrupt::Watch::Watch(Interrupt& interrupt, grpc::ClientContext& context)
    : interrupt_(interrupt) {
  MutexLock lock(&interrupt_.mu_);
  interrupt_.watched_ = &context;
  if (interrupt_.is_triggered_) {
    context.TryCancel();
  }
}

Interrupt::Watch::~Watch() {
  MutexLock lock(&interrupt_.mu_);
  interrupt_.watched_ = nullptr;
}

bool Interrupt::Trigger() {
  MutexLock lock(&mu_);
  const bool is_first = !is_triggered_;
  is_triggered_ = true;
  if (watched_ == nullptr) {
    return false;
  }
  watched_->TryCancel();
  return is_first;
}

}  // namespace stockpot
