// Paged attention: writes the new keys and values of a step into the KV cache
// and attends over each sequence's context.

#ifndef STOCKPOT_MODEL_ATTENTION_H_
#define STOCKPOT_MODEL_ATTENTION_H_

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "model/step_batch.h"

namespace stockpot {

struct AttentionShape {
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
};

// Where each new token of a step goes in the cache: [rows] int64 on `device`,
// block * kKvBlockTokens + offset.
at::Tensor KvSlots(const StepBatch& batch, at::Device device);

// Writes keys and values, [rows, num_kv_heads * head_dim] each with inner
// stride 1, to `slots` of one layer's cache. Throws c10::Error.
void StoreKv(const at::Tensor& keys, const at::Tensor& values,
             const at::Tensor& slots, at::Tensor& key_cache,
             at::Tensor& value_cache);

// Causal attention of the new tokens over their sequences' contexts, scaled by
// 1 / sqrt(head_dim). Query head h reads key-value head h / (num_heads /
// num_kv_heads).
// query [rows, num_heads * head_dim], inner stride 1 -> [rows, num_heads *
// head_dim]. REQUIRES: StoreKv() of this step was called. Throws c10::Error.
at::Tensor Attend(const at::Tensor& query, const AttentionShape& shape,
                  const StepBatch& batch, const at::Tensor& key_cache,
                  const at::Tensor& value_cache);

}  // namespace stockpot

#endif  // STOCKPOT_MODEL_ATTENTION_H_
