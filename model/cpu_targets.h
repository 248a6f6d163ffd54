// How kernels are compiled for several processors, and how they read and write
// bfloat16. Included by kernel sources only.

#ifndef STOCKPOT_MODEL_CPU_TARGETS_H_
#define STOCKPOT_MODEL_CPU_TARGETS_H_

#include <bit>
#include <cstdint>

#include "model/cpu_kernels.h"

// Three versions of each entry point; the loader picks by CPUID. The bodies are
// templates that every version inlines.
#if defined(__x86_64__)
#define STOCKPOT_PER_CPU \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define STOCKPOT_PER_CPU
#endif
#define STOCKPOT_INLINE inline __attribute__((always_inline))

namespace stockpot::kernels {

STOCKPOT_INLINE float Load(float x) { return x; }
STOCKPOT_INLINE float Load(Bf16 x) {
  return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16);
}

STOCKPOT_INLINE void Store(float x, float* to) { *to = x; }
// Rounds to nearest, ties to even. NaN stays NaN.
STOCKPOT_INLINE void Store(float x, Bf16* to) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const bool is_nan = (bits & 0x7fffffff) > 0x7f800000;
  to->bits = static_cast<uint16_t>(is_nan ? (bits >> 16) | 0x40 : rounded);
}

}  // namespace stockpot::kernels

#endif  // STOCKPOT_MODEL_CPU_TARGETS_H_
