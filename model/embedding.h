// An Embedding maps token ids to rows of a weight.
//
// On the CPU the weight is a view of the mapped checkpoint (docs/decisions/
// 0003): rows are read from the file's pages, which are given back from time to
// time. Not thread-safe: the engine thread is the only user.

#ifndef STOCKPOT_MODEL_EMBEDDING_H_
#define STOCKPOT_MODEL_EMBEDDING_H_

#include <cstdint>
#include <memory>
#include <utility>

#include <ATen/core/Tensor.h>

#include "formats/checkpoint.h"

namespace stockpot {

class Embedding {
 public:
  Embedding() = default;

  // `weight` [vocab, hidden] in any float dtype; `checkpoint` owns its pages,
  // or is null if the weight owns its memory.
  Embedding(at::Tensor weight, std::shared_ptr<const Checkpoint> checkpoint)
      : weight_(std::move(weight)), checkpoint_(std::move(checkpoint)) {}

  // ids [rows] int64 -> [rows, hidden] in `dtype`. Throws c10::Error.
  at::Tensor Lookup(const at::Tensor& ids, at::ScalarType dtype) const;

 private:
  at::Tensor weight_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  mutable int64_t rows_since_drop_ = 0;
};

}  // namespace stockpot

#endif  // STOCKPOT_MODEL_EMBEDDING_H_
