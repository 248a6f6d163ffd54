#include "model/attention.h"

#include <cmath>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/tensor.h>

#include "model/cpu_kernels.h"
#include "model/kv_cache.h"

namespace stockpot {

namespace {

// From this many new tokens on, libtorch's blocked attention beats one pass
// over the context per token (bench/README.md).
constexpr int32_t kMinRowsForBlocked = 16;

// Tokens [0, context) of a sequence as [1, heads, context, dim].
at::Tensor Gather(const at::Tensor& cache, const StepSequence& sequence,
                  at::ScalarType dtype) {
  const int64_t num_blocks =
      (sequence.context_tokens + kKvBlockTokens - 1) / kKvBlockTokens;
  const at::Tensor blocks =
      at::tensor(at::ArrayRef<int32_t>(sequence.block_ids.data(), num_blocks),
                 at::kLong)
          .to(cache.device());
  return cache.index_select(0, blocks)
      .flatten(0, 1)
      .narrow(0, 0, sequence.context_tokens)
      .to(dtype)
      .transpose(0, 1)
      .unsqueeze(0);
}

// One sequence by libtorch's attention; on the CPU in float32, because there
// its bfloat16 form is ten times slower.
void AttendBlocked(const at::Tensor& query, const AttentionShape& shape,
                   const StepSequence& sequence, const at::Tensor& key_cache,
                   const at::Tensor& value_cache, at::Tensor out) {
  const at::ScalarType dtype =
      query.is_cpu() ? at::kFloat : query.scalar_type();
  const int64_t rows = sequence.num_rows;
  const int64_t context = sequence.context_tokens;
  const at::Tensor q = query.narrow(0, sequence.first_row, rows)
                           .reshape({rows, shape.num_heads, shape.head_dim})
                           .to(dtype)
                           .transpose(0, 1)
                           .unsqueeze(0);  // [1, heads, rows, dim]
  at::Tensor k = Gather(key_cache, sequence, dtype);
  at::Tensor v = Gather(value_cache, sequence, dtype);
  std::optional<at::Tensor> mask;
  const bool whole = rows == context;
  if (!whole && rows > 1) {
    const auto options = at::TensorOptions().device(query.device());
    const at::Tensor key_at = at::arange(context, options);
    const at::Tensor row_at = at::arange(context - rows, context, options);
    mask = key_at.unsqueeze(0) <= row_at.unsqueeze(1);  // [rows, context]
  }
  const at::Tensor y = at::scaled_dot_product_attention(
      q, k, v, mask, /*dropout_p=*/0.0, /*is_causal=*/whole && rows > 1,
      /*scale=*/std::nullopt,
      /*enable_gqa=*/shape.num_heads != shape.num_kv_heads);
  out.narrow(0, sequence.first_row, rows)
      .copy_(y.squeeze(0).transpose(0, 1).reshape(
          {rows, shape.num_heads * shape.head_dim}));
}

// One new token for one key-value head: the unit of work of a decode step.
struct RowTask {
  const StepSequence* sequence = nullptr;
  int64_t row = 0;
  int64_t context = 0;  // Tokens that the row sees.
  int64_t kv_head = 0;
};

template <typename T>
void AttendRows(const at::Tensor& query, const AttentionShape& shape,
                const std::vector<RowTask>& tasks, const at::Tensor& key_cache,
                const at::Tensor& value_cache, at::Tensor out) {
  const int64_t group = shape.num_heads / shape.num_kv_heads;
  const int64_t dim = shape.head_dim;
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  const T* q = static_cast<const T*>(query.data_ptr());
  T* y = static_cast<T*>(out.data_ptr());
  const auto run = [&](int64_t begin, int64_t end) {
    std::vector<float> scratch;
    for (int64_t i = begin; i < end; ++i) {
      const RowTask& task = tasks[i];
      const kernels::KvView<T> kv{
          .keys = static_cast<const T*>(key_cache.data_ptr()),
          .values = static_cast<const T*>(value_cache.data_ptr()),
          .blocks = task.sequence->block_ids.data(),
          .block_tokens = kKvBlockTokens,
          .kv_heads = shape.num_kv_heads,
          .dim = dim};
      scratch.resize(group * (task.context + 2 * dim));
      const int64_t head = task.kv_head * group;
      kernels::Attend(q + task.row * query.stride(0) + head * dim, kv,
                      task.kv_head, group, task.context, scale, scratch.data(),
                      y + task.row * out.stride(0) + head * dim);
    }
  };
  int64_t work = 0;
  for (const RowTask& task : tasks) {
    work += task.context * group * dim;
  }
  const auto count = static_cast<int64_t>(tasks.size());
  // Below some ten microseconds of work a second thread costs more than it
  // does.
  at::parallel_for(0, count, work < 100'000 ? count : 1, run);
}

}  // namespace

at::Tensor KvSlots(const StepBatch& batch, at::Device device) {
  std::vector<int64_t> slots;
  slots.reserve(batch.token_ids.size());
  for (const StepSequence& sequence : batch.sequences) {
    const int32_t first = sequence.context_tokens - sequence.num_rows;
    for (int32_t i = first; i < sequence.context_tokens; ++i) {
      slots.push_back(int64_t{sequence.block_ids[i / kKvBlockTokens]} *
                          kKvBlockTokens +
                      i % kKvBlockTokens);
    }
  }
  return at::tensor(slots, at::kLong).to(device);
}

void StoreKv(const at::Tensor& keys, const at::Tensor& values,
             const at::Tensor& slots, at::Tensor& key_cache,
             at::Tensor& value_cache) {
  const int64_t rows = keys.size(0);
  const int64_t heads = key_cache.size(2);
  const int64_t dim = key_cache.size(3);
  // [num_blocks * kKvBlockTokens, heads, dim]
  key_cache.view({-1, heads, dim})
      .index_copy_(0, slots, keys.reshape({rows, heads, dim}));
  value_cache.view({-1, heads, dim})
      .index_copy_(0, slots, values.reshape({rows, heads, dim}));
}

at::Tensor Attend(const at::Tensor& query, const AttentionShape& shape,
                  const StepBatch& batch, const at::Tensor& key_cache,
                  const at::Tensor& value_cache) {
  at::Tensor out = at::empty({query.size(0), shape.num_heads * shape.head_dim},
                             query.options());
  std::vector<RowTask> tasks;
  for (const StepSequence& sequence : batch.sequences) {
    if (!query.is_cpu() || sequence.num_rows >= kMinRowsForBlocked) {
      AttendBlocked(query, shape, sequence, key_cache, value_cache, out);
      continue;
    }
    for (int32_t i = 0; i < sequence.num_rows; ++i) {
      for (int64_t head = 0; head < shape.num_kv_heads; ++head) {
        tasks.push_back(
            {.sequence = &sequence,
             .row = sequence.first_row + i,
             .context = sequence.context_tokens - sequence.num_rows + i + 1,
             .kv_head = head});
      }
    }
  }
  if (tasks.empty()) {
    return out;
  }
  if (query.scalar_type() == at::kFloat) {
    AttendRows<float>(query, shape, tasks, key_cache, value_cache, out);
  } else {
    AttendRows<kernels::Bf16>(query, shape, tasks, key_cache, value_cache, out);
  }
  return out;
}

}  // namespace stockpot
