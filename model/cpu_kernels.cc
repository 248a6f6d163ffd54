#include "model/cpu_kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "model/cpu_targets.h"

namespace stockpot::kernels {

namespace {

// exp(x) within 2 units in the last place, without branches, so that loops
// around it vectorise. Source: Cephes expf.
STOCKPOT_INLINE float Exp(float x) {
  x = std::min(std::max(x, -87.0f), 88.0f);
  const float n = __builtin_floorf(x * 1.44269504088896341f + 0.5f);
  const float r = x - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const int32_t exponent = (static_cast<int32_t>(n) + 127) << 23;
  return p * std::bit_cast<float>(exponent);
}

template <typename T>
STOCKPOT_INLINE void AddRmsNormBody(T* residual, const T* delta,
                                    const T* weight, float epsilon, int64_t n,
                                    T* out) {
  if (delta != nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      Store(Load(residual[i]) + Load(delta[i]), &residual[i]);
    }
  }
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) {
    const float x = Load(residual[i]);
    sum += x * x;
  }
  const float scale = 1.0f / std::sqrt(sum / static_cast<float>(n) + epsilon);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    Store(Load(residual[i]) * scale * Load(weight[i]), &out[i]);
  }
}

template <typename T>
STOCKPOT_INLINE void RotateBody(T* x, int64_t heads, int64_t dim,
                                const float* cosines, const float* sines) {
  const int64_t half = dim / 2;
  for (int64_t head = 0; head < heads; ++head, x += dim) {
#pragma omp simd
    for (int64_t i = 0; i < half; ++i) {
      const float a = Load(x[i]);
      const float b = Load(x[i + half]);
      Store(a * cosines[i] - b * sines[i], &x[i]);
      Store(b * cosines[i] + a * sines[i], &x[i + half]);
    }
  }
}

template <typename T>
STOCKPOT_INLINE void SiluMulBody(const T* gate, const T* up, int64_t n,
                                 T* out) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float g = Load(gate[i]);
    Store(g / (1.0f + Exp(-g)) * Load(up[i]), &out[i]);
  }
}

// The softmax of `n` scores, in place; returns nothing to divide by later.
STOCKPOT_INLINE void Softmax(float* scores, int64_t n) {
  float top = scores[0];
#pragma omp simd reduction(max : top)
  for (int64_t i = 0; i < n; ++i) {
    top = std::max(top, scores[i]);
  }
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) {
    scores[i] = Exp(scores[i] - top);
    sum += scores[i];
  }
  const float inverse = 1.0f / sum;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    scores[i] *= inverse;
  }
}

template <typename T>
STOCKPOT_INLINE const T* At(const T* base, const KvView<T>& kv, int64_t token,
                            int64_t kv_head) {
  const int64_t slot = kv.blocks[token / kv.block_tokens] * kv.block_tokens +
                       token % kv.block_tokens;
  return base + (slot * kv.kv_heads + kv_head) * kv.dim;
}

template <typename T>
STOCKPOT_INLINE void AttendBody(const T* query, const KvView<T>& kv,
                                int64_t kv_head, int64_t group, int64_t context,
                                float scale, float* scratch, T* out) {
  const int64_t dim = kv.dim;
  float* q = scratch;                 // [group, dim]
  float* sum = q + group * dim;       // [group, dim]
  float* scores = sum + group * dim;  // [group, context]
  for (int64_t i = 0; i < group * dim; ++i) {
    q[i] = Load(query[i]) * scale;
    sum[i] = 0;
  }
  for (int64_t token = 0; token < context; ++token) {
    const T* key = At(kv.keys, kv, token, kv_head);
    for (int64_t g = 0; g < group; ++g) {
      float dot = 0;
#pragma omp simd reduction(+ : dot)
      for (int64_t i = 0; i < dim; ++i) {
        dot += q[g * dim + i] * Load(key[i]);
      }
      scores[g * context + token] = dot;
    }
  }
  for (int64_t g = 0; g < group; ++g) {
    Softmax(scores + g * context, context);
  }
  for (int64_t token = 0; token < context; ++token) {
    const T* value = At(kv.values, kv, token, kv_head);
    for (int64_t g = 0; g < group; ++g) {
      const float weight = scores[g * context + token];
#pragma omp simd
      for (int64_t i = 0; i < dim; ++i) {
        sum[g * dim + i] += weight * Load(value[i]);
      }
    }
  }
  for (int64_t i = 0; i < group * dim; ++i) {
    Store(sum[i], &out[i]);
  }
}

}  // namespace

STOCKPOT_PER_CPU void AddRmsNorm(float* residual, const float* delta,
                                 const float* weight, float epsilon, int64_t n,
                                 float* out) {
  AddRmsNormBody(residual, delta, weight, epsilon, n, out);
}
STOCKPOT_PER_CPU void AddRmsNorm(Bf16* residual, const Bf16* delta,
                                 const Bf16* weight, float epsilon, int64_t n,
                                 Bf16* out) {
  AddRmsNormBody(residual, delta, weight, epsilon, n, out);
}

STOCKPOT_PER_CPU void Rotate(float* x, int64_t heads, int64_t dim,
                             const float* cosines, const float* sines) {
  RotateBody(x, heads, dim, cosines, sines);
}
STOCKPOT_PER_CPU void Rotate(Bf16* x, int64_t heads, int64_t dim,
                             const float* cosines, const float* sines) {
  RotateBody(x, heads, dim, cosines, sines);
}

STOCKPOT_PER_CPU void SiluMul(const float* gate, const float* up, int64_t n,
                              float* out) {
  SiluMulBody(gate, up, n, out);
}
STOCKPOT_PER_CPU void SiluMul(const Bf16* gate, const Bf16* up, int64_t n,
                              Bf16* out) {
  SiluMulBody(gate, up, n, out);
}

STOCKPOT_PER_CPU void Attend(const float* query, const KvView<float>& kv,
                             int64_t kv_head, int64_t group, int64_t context,
                             float scale, float* scratch, float* out) {
  AttendBody(query, kv, kv_head, group, context, scale, scratch, out);
}
STOCKPOT_PER_CPU void Attend(const Bf16* query, const KvView<Bf16>& kv,
                             int64_t kv_head, int64_t group, int64_t context,
                             float scale, float* scratch, Bf16* out) {
  AttendBody(query, kv, kv_head, group, context, scale, scratch, out);
}

}  // namespace stockpot::kernels
