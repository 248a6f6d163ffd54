// Rows of the embedding's or the head's weight that stand in place of the base
// model's for some rows of a step.

#ifndef STOCKPOT_MODEL_TOKEN_ROWS_H_
#define STOCKPOT_MODEL_TOKEN_ROWS_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

namespace stockpot {

// Immutable.
class TokenRows {
 public:
  // rows [tokens, hidden] in the dtype and on the device to run in; rows[i] is
  // tokens[i]'s. Without `tokens`, the whole weight: row i is token i's.
  TokenRows(std::vector<int64_t> tokens, at::Tensor rows);

  bool is_whole() const { return tokens_.empty(); }
  const at::Tensor& rows() const { return rows_; }
  // [tokens] int64 on the CPU, as given. REQUIRES: !is_whole().
  at::Tensor Tokens() const;
  // The row of `token` in rows(), or -1.
  int64_t Find(int64_t token) const;

 private:
  std::vector<int64_t> tokens_;
  std::vector<std::pair<int64_t, int64_t>> sorted_;  // Token, row.
  at::Tensor rows_;
};

// The rows of one adapter in a step, and who uses them.
struct RowsDelta {
  std::shared_ptr<const TokenRows> rows;
  std::vector<bool> mixes;  // [mixes]; of each, no two replace one row.
};

// Replaces rows of y [rows, hidden], which hold the base model's embeddings of
// `ids` [rows] int64 on the CPU; mix [rows] int32 on the CPU. Throws
// c10::Error.
void ReplaceEmbeddings(const std::vector<RowsDelta>& replaced,
                       const at::Tensor& ids, const at::Tensor& mix,
                       at::Tensor y);

// Replaces values of y [rows, vocabulary], the base model's logits of x [rows,
// hidden], by those of the rows' own weights; mix as above. Throws c10::Error.
void ReplaceLogits(const std::vector<RowsDelta>& replaced, const at::Tensor& x,
                   const at::Tensor& mix, at::Tensor y);

}  // namespace stockpot

#endif  // STOCKPOT_MODEL_TOKEN_ROWS_H_
