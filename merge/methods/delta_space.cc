#include "merge/methods/delta_space.h"

#include <algorithm>
#include <vector>

#include <ATen/ops/empty.h>

#include "merge/methods/entry_rows.h"
#include "merge/methods/streamed_svd.h"

namespace stockpot {

namespace {

class DeltaRows : public TermRows {
 public:
  // `stopped` must outlive this.
  DeltaRows(absl::Span<const MergeTerm> terms, const StopCheck& stopped)
      : stopped_(stopped) {
    for (const MergeTerm& term : terms) {
      a_.push_back(term.a);
      scaled_b_.push_back(term.b.mul(term.scale));
    }
  }

  int64_t num_terms() const override { return static_cast<int64_t>(a_.size()); }
  int64_t rows() const override { return scaled_b_[0].size(0); }
  int64_t cols() const override { return a_[0].size(1); }
  at::Tensor Rows(int64_t term, int64_t first, int64_t count) const override {
    if (IsStopped(stopped_)) {
      throw MergeStopped();
    }
    return scaled_b_[term].narrow(0, first, count).matmul(a_[term]);
  }

 private:
  const StopCheck& stopped_;
  std::vector<at::Tensor> a_;         // [rank, in]
  std::vector<at::Tensor> scaled_b_;  // [out, rank]
};

// All rows, block by block.
at::Tensor MakeOnce(const RowSource& rows) {
  at::Tensor all = at::empty({rows.rows, rows.cols}, at::kFloat);
  for (int64_t first = 0; first < rows.rows; first += rows.block_rows) {
    const int64_t count = std::min(rows.block_rows, rows.rows - first);
    all.narrow(0, first, count).copy_(rows.get(first, count));
  }
  return all;
}

}  // namespace

LowRank MergeDeltas(absl::Span<const MergeTerm> terms, int64_t rank,
                    const MergeOptions& options, uint64_t stream,
                    int64_t kept_entries, const StopCheck& stopped) {
  const DeltaRows deltas(terms, stopped);
  std::vector<double> weights;
  for (const MergeTerm& term : terms) {
    weights.push_back(term.weight);
  }
  const EntryMerge merge(deltas, weights, options, 2 * stream);
  RowSource rows{.rows = merge.rows(),
                 .cols = merge.cols(),
                 .block_rows = merge.block_rows(),
                 .get = [&](int64_t first, int64_t count) {
                   return merge.Rows(first, count);
                 }};
  if (rows.rows * rows.cols <= kept_entries) {
    const at::Tensor kept = MakeOnce(rows);
    rows.block_rows = rows.rows;
    rows.get = [kept](int64_t first, int64_t count) {
      return kept.narrow(0, first, count);
    };
  }
  return StreamedSvd(rows, rank);
}

}  // namespace stockpot
