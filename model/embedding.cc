#include "model/embedding.h"

namespace stockpot {

namespace {

// Around each page that is read the kernel maps up to half a megabyte of what
// it has cached: this many rows may keep 64 MiB of the file resident.
constexpr int64_t kRowsPerDrop = 128;

}  // namespace

at::Tensor Embedding::Lookup(const at::Tensor& ids,
                             at::ScalarType dtype) const {
  at::Tensor rows = weight_.index_select(0, ids.to(weight_.device())).to(dtype);
  rows_since_drop_ += ids.size(0);
  if (checkpoint_ != nullptr && rows_since_drop_ > kRowsPerDrop) {
    checkpoint_->DropPages();
    rows_since_drop_ = 0;
  }
  return rows;
}

}  // namespace stockpot
