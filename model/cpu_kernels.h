// The inner loops of the forward pass on the CPU that libtorch does slowly or
// in many passes: each handles one row and is called from several threads.
//
// Plain pointers, no torch. Compiled for three x86-64 levels, chosen when the
// program starts. Sums are kept in float32 whatever the storage type.

#ifndef STOCKPOT_MODEL_CPU_KERNELS_H_
#define STOCKPOT_MODEL_CPU_KERNELS_H_

#include <cstdint>

namespace stockpot::kernels {

// The upper half of a float32 (bfloat16); same layout as c10::BFloat16.
struct Bf16 {
  uint16_t bits;
};

// residual += delta, if `delta` is given; then
// out = weight * residual / sqrt(mean(residual^2) + epsilon).
// All [n]. Source: arXiv:1910.07467 (RMSNorm).
void AddRmsNorm(float* residual, const float* delta, const float* weight,
                float epsilon, int64_t n, float* out);
void AddRmsNorm(Bf16* residual, const Bf16* delta, const Bf16* weight,
                float epsilon, int64_t n, Bf16* out);

// Rotates `heads` heads of `dim` values in place by the angles whose cosines
// and sines are given, [dim / 2] each. Value i pairs with i + dim / 2.
// Source: arXiv:2104.09864 (RoPE), in the layout of transformers.
void Rotate(float* x, int64_t heads, int64_t dim, const float* cosines,
            const float* sines);
void Rotate(Bf16* x, int64_t heads, int64_t dim, const float* cosines,
            const float* sines);

// out = gate / (1 + exp(-gate)) * up, all [n].
void SiluMul(const float* gate, const float* up, int64_t n, float* out);
void SiluMul(const Bf16* gate, const Bf16* up, int64_t n, Bf16* out);

// One layer's keys and values as the KV cache lays them out:
// [block][kBlockTokens][kv_heads][dim].
template <typename T>
struct KvView {
  const T* keys = nullptr;
  const T* values = nullptr;
  const int32_t* blocks = nullptr;  // [ceil(context / block_tokens)]
  int64_t block_tokens = 0;
  int64_t kv_heads = 0;
  int64_t dim = 0;
};

// Attention of one token: the `group` query heads that share key-value head
// `kv_head`, over the first `context` tokens.
// query, out: [group, dim]. scratch: [group * (context + 2 * dim)] floats.
void Attend(const float* query, const KvView<float>& kv, int64_t kv_head,
            int64_t group, int64_t context, float scale, float* scratch,
            float* out);
void Attend(const Bf16* query, const KvView<Bf16>& kv, int64_t kv_head,
            int64_t group, int64_t context, float scale, float* scratch,
            Bf16* out);

}  // namespace stockpot::kernels

#endif  // STOCKPOT_MODEL_CPU_KERNELS_H_
