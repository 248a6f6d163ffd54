// KvBlocks hands out the blocks of the KV cache by number. Pure bookkeeping:
// the storage is model/kv_cache.h. Not thread-safe.

#ifndef STOCKPOT_ENGINE_KV_BLOCKS_H_
#define STOCKPOT_ENGINE_KV_BLOCKS_H_

#include <cstdint>
#include <vector>

namespace stockpot {

class KvBlocks {
 public:
  KvBlocks(int32_t num_blocks, int32_t block_tokens);

  // Blocks that `tokens` tokens need.
  int32_t BlocksFor(int64_t tokens) const {
    return static_cast<int32_t>((tokens + block_tokens_ - 1) / block_tokens_);
  }

  // Takes `count` blocks; empty if so many are not free. Lowest numbers first,
  // so that a lightly loaded daemon touches little memory.
  std::vector<int32_t> Take(int32_t count);

  // Gives blocks back. REQUIRES: each was taken and not given back since.
  void Free(const std::vector<int32_t>& blocks);

  int32_t num_free() const { return static_cast<int32_t>(free_.size()); }
  int32_t num_blocks() const { return static_cast<int32_t>(taken_.size()); }
  int32_t num_used() const { return num_blocks() - num_free(); }

 private:
  const int32_t block_tokens_;
  std::vector<int32_t> free_;  // A heap, smallest on top.
  std::vector<bool> taken_;    // [num_blocks]
};

}  // namespace stockpot

#endif  // STOCKPOT_ENGINE_KV_BLOCKS_H_
