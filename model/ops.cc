#include "model/ops.h"

#include <algorithm>
#include <type_traits>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/silu.h>

#include "model/cpu_kernels.h"
#include "model/cpu_storage.h"

namespace stockpot {

namespace {

template <typename T>
T* Data(const at::Tensor& x) {
  return static_cast<T*>(x.data_ptr());
}

// Rows that are worth a second thread: waking one costs about as much as a
// microsecond of work.
int64_t Grain(int64_t work_per_row) {
  return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, work_per_row));
}

}  // namespace

at::Tensor AddRmsNorm(at::Tensor& residual, const at::Tensor& delta,
                      const at::Tensor& weight, double epsilon) {
  if (!residual.is_cpu()) {
    if (delta.defined()) {
      residual.add_(delta);
    }
    const at::Tensor x = residual.to(at::kFloat);
    const at::Tensor scale =
        (x.square().mean(-1, /*keepdim=*/true) + epsilon).rsqrt();
    return (x * scale).to(residual.scalar_type()) * weight;
  }
  at::Tensor out = at::empty_like(residual);
  const int64_t n = residual.size(1);
  WithCpuStorage(residual, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    T* r = Data<T>(residual);
    const T* d = delta.defined() ? Data<T>(delta) : nullptr;
    at::parallel_for(0, residual.size(0), Grain(n), [&](int64_t b, int64_t e) {
      for (int64_t row = b; row < e; ++row) {
        kernels::AddRmsNorm(r + row * n, d == nullptr ? d : d + row * n,
                            Data<T>(weight), static_cast<float>(epsilon), n,
                            Data<T>(out) + row * n);
      }
    });
  });
  return out;
}

void Rotate(at::Tensor x, int64_t heads, int64_t dim, const at::Tensor& cosines,
            const at::Tensor& sines) {
  if (!x.is_cpu()) {
    at::Tensor view = x.narrow(1, 0, heads * dim).view({x.size(0), heads, dim});
    const at::Tensor c = cosines.unsqueeze(1);
    const at::Tensor s = sines.unsqueeze(1);
    const at::Tensor a = view.narrow(2, 0, dim / 2).to(at::kFloat);
    const at::Tensor b = view.narrow(2, dim / 2, dim / 2).to(at::kFloat);
    view.copy_(
        at::cat(std::vector<at::Tensor>{a * c - b * s, b * c + a * s}, 2));
    return;
  }
  WithCpuStorage(x, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    at::parallel_for(
        0, x.size(0), Grain(heads * dim), [&](int64_t b, int64_t e) {
          for (int64_t row = b; row < e; ++row) {
            kernels::Rotate(Data<T>(x) + row * x.stride(0), heads, dim,
                            Data<float>(cosines) + row * dim / 2,
                            Data<float>(sines) + row * dim / 2);
          }
        });
  });
}

at::Tensor SiluMul(const at::Tensor& gate_up) {
  const int64_t n = gate_up.size(1) / 2;
  if (!gate_up.is_cpu()) {
    return at::silu(gate_up.narrow(1, 0, n)) * gate_up.narrow(1, n, n);
  }
  at::Tensor out = at::empty({gate_up.size(0), n}, gate_up.options());
  WithCpuStorage(gate_up, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const T* x = Data<T>(gate_up);
    at::parallel_for(0, gate_up.size(0), Grain(n), [&](int64_t b, int64_t e) {
      for (int64_t row = b; row < e; ++row) {
        kernels::SiluMul(x + row * 2 * n, x + row * 2 * n + n, n,
                         Data<T>(out) + row * n);
      }
    });
  });
  return out;
}

}  // namespace stockpot
