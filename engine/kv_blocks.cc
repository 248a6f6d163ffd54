#include "engine/kv_blocks.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "base/check.h"

namespace stockpot {

KvBlocks::KvBlocks(int32_t num_blocks, int32_t block_tokens)
    : block_tokens_(block_tokens),
      free_(num_blocks),
      taken_(num_blocks, false) {
  std::iota(free_.begin(), free_.end(), 0);  // Sorted, hence a heap.
}

std::vector<int32_t> KvBlocks::Take(int32_t count) {
  if (count > num_free()) {
    return {};
  }
  std::vector<int32_t> blocks;
  blocks.reserve(count);
  for (int32_t i = 0; i < count; ++i) {
    std::pop_heap(free_.begin(), free_.end(), std::greater<>());
    blocks.push_back(free_.back());
    free_.pop_back();
    taken_[blocks.back()] = true;
  }
  return blocks;
}

void KvBlocks::Free(const std::vector<int32_t>& blocks) {
  for (const int32_t block : blocks) {
    STOCKPOT_CHECK(block >= 0 && block < num_blocks() && taken_[block]);
    taken_[block] = false;
    free_.push_back(block);
    std::push_heap(free_.begin(), free_.end(), std::greater<>());
  }
}

}  // namespace stockpot
