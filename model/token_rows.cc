#include "model/token_rows.h"

#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/tensor.h>

namespace stockpot {

namespace {

at::Tensor Indices(const std::vector<int64_t>& values, at::Device device) {
  return at::tensor(values, at::kLong).to(device);
}

}  // namespace

TokenRows::TokenRows(std::vector<int64_t> tokens, at::Tensor rows)
    : tokens_(std::move(tokens)), rows_(std::move(rows)) {
  sorted_.reserve(tokens_.size());
  for (size_t i = 0; i < tokens_.size(); ++i) {
    sorted_.emplace_back(tokens_[i], static_cast<int64_t>(i));
  }
  std::sort(sorted_.begin(), sorted_.end());
}

at::Tensor TokenRows::Tokens() const { return at::tensor(tokens_, at::kLong); }

int64_t TokenRows::Find(int64_t token) const {
  if (is_whole()) {
    return token;
  }
  const auto it = std::lower_bound(sorted_.begin(), sorted_.end(),
                                   std::pair<int64_t, int64_t>(token, 0));
  return it != sorted_.end() && it->first == token ? it->second : -1;
}

void ReplaceEmbeddings(const std::vector<RowsDelta>& replaced,
                       const at::Tensor& ids, const at::Tensor& mix,
                       at::Tensor y) {
  const auto* id = ids.const_data_ptr<int64_t>();
  const auto* mixes = mix.const_data_ptr<int32_t>();
  for (const RowsDelta& delta : replaced) {
    std::vector<int64_t> to;
    std::vector<int64_t> from;
    for (int64_t row = 0; row < ids.size(0); ++row) {
      const int64_t found =
          delta.mixes[mixes[row]] ? delta.rows->Find(id[row]) : -1;
      if (found >= 0) {
        to.push_back(row);
        from.push_back(found);
      }
    }
    if (!to.empty()) {
      const at::Tensor& rows = delta.rows->rows();
      y.index_copy_(0, Indices(to, y.device()),
                    rows.index_select(0, Indices(from, rows.device())));
    }
  }
}

void ReplaceLogits(const std::vector<RowsDelta>& replaced, const at::Tensor& x,
                   const at::Tensor& mix, at::Tensor y) {
  const auto* mixes = mix.const_data_ptr<int32_t>();
  for (const RowsDelta& delta : replaced) {
    std::vector<int64_t> users;
    for (int64_t row = 0; row < x.size(0); ++row) {
      if (delta.mixes[mixes[row]]) {
        users.push_back(row);
      }
    }
    if (users.empty()) {
      continue;
    }
    const at::Tensor index = Indices(users, y.device());
    const at::Tensor own =
        at::linear(x.index_select(0, index), delta.rows->rows());
    if (delta.rows->is_whole()) {
      y.index_copy_(0, index, own);
      continue;
    }
    at::Tensor mixed = y.index_select(0, index);  // [users, vocabulary]
    mixed.index_copy_(1, delta.rows->Tokens().to(y.device()), own);
    y.index_copy_(0, index, mixed);
  }
}

}  // namespace stockpot
