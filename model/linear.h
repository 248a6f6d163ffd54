// A Linear is y = x W^T + bias with a weight laid out for its device.
//
// On the CPU the weight is repacked by oneDNN once, at load: reading it in the
// order of the multiplication is what brings a decode step near the limit of
// the memory (docs/benchmarks.md). Immutable after creation.

#ifndef STOCKPOT_MODEL_LINEAR_H_
#define STOCKPOT_MODEL_LINEAR_H_

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace stockpot {

class Linear {
 public:
  Linear() = default;

  // `weight` [out, in] and `bias` [out] (may be undefined) in the dtype and on
  // the device to run in. Throws c10::Error.
  Linear(const at::Tensor& weight, const at::Tensor& bias);

  // x [rows, in] -> [rows, out], contiguous. Throws c10::Error.
  at::Tensor operator()(const at::Tensor& x) const;

  int64_t weight_bytes() const { return weight_bytes_; }

 private:
  at::Tensor weight_;  // [out, in]; opaque to all but oneDNN when `packed_`.
  at::Tensor bias_;
  bool packed_ = false;
  int64_t weight_bytes_ = 0;
};

}  // namespace stockpot

#endif  // STOCKPOT_MODEL_LINEAR_H_
