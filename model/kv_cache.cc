#include "model/kv_cache.h"

#include <ATen/ops/empty.h>
#include <c10/core/ScalarType.h>

#include "model/torch_status.h"

namespace stockpot {

int64_t KvCache::Shape::block_bytes() const {
  return 2 * num_layers * kKvBlockTokens * num_kv_heads * head_dim *
         static_cast<int64_t>(c10::elementSize(dtype));
}

absl::StatusOr<KvCache> KvCache::Create(const Shape& shape,
                                        int64_t num_blocks) {
  return CatchTorch([&]() -> absl::StatusOr<KvCache> {
    KvCache cache;
    cache.num_blocks_ = num_blocks;
    const auto options =
        at::TensorOptions().dtype(shape.dtype).device(shape.device);
    for (int64_t layer = 0; layer < shape.num_layers; ++layer) {
      for (std::vector<at::Tensor>* side : {&cache.keys_, &cache.values_}) {
        side->push_back(at::empty(
            {num_blocks, kKvBlockTokens, shape.num_kv_heads, shape.head_dim},
            options));
      }
    }
    return cache;
  });
}

}  // namespace stockpot
