#include "merge/methods/entries.h"

#include <algorithm>
#include <vector>

#include "merge/methods/entry_rows.h"

namespace stockpot {

namespace {

class DenseRows : public TermRows {
 public:
  explicit DenseRows(absl::Span<const at::Tensor> terms) {
    for (const at::Tensor& term : terms) {
      const int64_t rows = term.dim() > 1 ? term.size(0) : 1;
      terms_.push_back(term.contiguous().view(
          {rows, term.numel() / std::max<int64_t>(1, rows)}));
    }
  }

  int64_t num_terms() const override {
    return static_cast<int64_t>(terms_.size());
  }
  int64_t rows() const override { return terms_[0].size(0); }
  int64_t cols() const override { return terms_[0].size(1); }
  at::Tensor Rows(int64_t term, int64_t first, int64_t count) const override {
    return terms_[term].narrow(0, first, count);
  }

 private:
  std::vector<at::Tensor> terms_;  // [rows, cols]
};

}  // namespace

at::Tensor MergeEntries(absl::Span<const at::Tensor> terms,
                        absl::Span<const double> weights,
                        const MergeOptions& options, uint64_t stream) {
  const DenseRows rows(terms);
  const EntryMerge merge(rows, weights, options, stream);
  return merge.Rows(0, rows.rows()).view_as(terms[0]);
}

EntryRule EntryRuleOf(const MergeOptions& options, uint64_t stream) {
  return [options, stream](absl::Span<const at::Tensor> terms,
                           absl::Span<const double> weights) {
    return MergeEntries(terms, weights, options, stream);
  };
}

}  // namespace stockpot
