// Who may use the cores: the engine thread's products run on all of them, what
// other threads ask of libtorch runs on the asking thread alone.
//
// libgomp keeps a pool for every thread that starts a parallel region, and once
// the pools hold more threads than there are cores it stops spinning between
// regions: each of a step's thousand regions then costs a system call.

#ifndef STOCKPOT_MODEL_TORCH_THREADS_H_
#define STOCKPOT_MODEL_TORCH_THREADS_H_

namespace stockpot {

// While it lives, libtorch runs what this thread asks for on this thread alone.
class OneTorchThread {
 public:
  OneTorchThread();
  ~OneTorchThread();
  OneTorchThread(const OneTorchThread&) = delete;
  OneTorchThread& operator=(const OneTorchThread&) = delete;

 private:
  const int before_;
};

}  // namespace stockpot

#endif  // STOCKPOT_MODEL_TORCH_THREADS_H_
