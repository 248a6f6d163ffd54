// A KvCache is the storage of keys and values: blocks of kBlockTokens tokens,
// named by number. Who owns which block is the scheduler's business
// (engine/kv_blocks.h).
//
// Not thread-safe: the engine thread is the only user.

#ifndef STOCKPOT_MODEL_KV_CACHE_H_
#define STOCKPOT_MODEL_KV_CACHE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include <ATen/core/Tensor.h>

namespace stockpot {

inline constexpr int32_t kKvBlockTokens = 16;

class KvCache {
 public:
  struct Shape {
    int64_t num_layers = 0;
    int64_t num_kv_heads = 0;
    int64_t head_dim = 0;
    at::ScalarType dtype = at::kFloat;
    at::Device device = at::kCPU;

    // Keys and values of one block, over all layers.
    int64_t block_bytes() const;
  };

  // Errors: ResourceExhausted if the memory cannot be had. On the CPU pages are
  // taken from the system only when a block is first written.
  static absl::StatusOr<KvCache> Create(const Shape& shape, int64_t num_blocks);

  // [num_blocks, kKvBlockTokens, num_kv_heads, head_dim] of one layer.
  at::Tensor& keys(int64_t layer) { return keys_[layer]; }
  at::Tensor& values(int64_t layer) { return values_[layer]; }

  int64_t num_blocks() const { return num_blocks_; }

 private:
  int64_t num_blocks_ = 0;
  std::vector<at::Tensor> keys_;    // [num_layers]
  std::vector<at::Tensor> values_;  // [num_layers]
};

}  // namespace stockpot

#endif  // STOCKPOT_MODEL_KV_CACHE_H_
