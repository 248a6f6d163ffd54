#include "model/torch_threads.h"

#include <omp.h>

#include <ATen/Parallel.h>

namespace stockpot {

// at::get_num_threads() also sets up the thread's own count, which libtorch
// would otherwise do later, over ours.
OneTorchThread::OneTorchThread() : before_(at::get_num_threads()) {
  omp_set_num_threads(1);
}

OneTorchThread::~OneTorchThread() { omp_set_num_threads(before_); }

}  // namespace stockpot
