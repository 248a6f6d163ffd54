// The entry-wise rules, on tensors that are made row by row.
//
// A rule first looks at every skill's whole tensor (the threshold of trimming,
// the norm before and after a mask), in one to three passes, and then merges
// any rows that are asked for. Nothing of the tensors' size is held. What each
// rule computes is written out in docs/composition.md.

#ifndef STOCKPOT_MERGE_METHODS_ENTRY_ROWS_H_
#define STOCKPOT_MERGE_METHODS_ENTRY_ROWS_H_

#include <cstdint>
#include <limits>
#include <vector>

#include "absl/types/span.h"
#include <ATen/core/Tensor.h>

#include "merge/merge_options.h"
#include "merge/methods/entry_random.h"

namespace stockpot {

// The tensors of one merge, of one shape [rows, cols].
class TermRows {
 public:
  virtual ~TermRows() = default;

  virtual int64_t num_terms() const = 0;
  virtual int64_t rows() const = 0;
  virtual int64_t cols() const = 0;
  // Rows first to first + count of a tensor, [count, cols] float32 contiguous.
  // The same rows asked for again have the same values.
  virtual at::Tensor Rows(int64_t term, int64_t first, int64_t count) const = 0;
};

// Thread-compatible.
class EntryMerge {
 public:
  // Looks at all of `terms`, which must outlive this. `options.method` is one
  // of kMagnitudePrune, kTies, kDare, kDella and kBreadcrumbs; `stream` tells
  // the masks of this merge from those of others with the same seed.
  // REQUIRES: weights.size() == terms.num_terms() >= 1.
  EntryMerge(const TermRows& terms, absl::Span<const double> weights,
             const MergeOptions& options, uint64_t stream);

  int64_t rows() const { return terms_.rows(); }
  int64_t cols() const { return terms_.cols(); }
  // How many rows are best asked for at a time: they and the terms' fit into a
  // processor's cache. Ask for rows from multiples of it, so that a product is
  // rounded as it was when its threshold was sought.
  int64_t block_rows() const { return block_rows_; }

  // [count, cols] float32.
  at::Tensor Rows(int64_t first, int64_t count) const;

 private:
  // What a rule knows of one term as a whole.
  struct TermFacts {
    EntryRandom random;
    // Magnitudes outside are dropped; those equal to either stay.
    float low = 0;
    float high = std::numeric_limits<float>::infinity();
    float rescale = 1;  // Multiplies what a mask keeps.
  };

  void FindThresholds(int64_t term);
  void FindRescale(int64_t term);
  // Row `row` of a term, trimmed or masked and rescaled: [cols].
  void Sparsify(int64_t term, int64_t row, const float* in, float* out) const;
  void MaskByRank(const TermFacts& facts, int64_t row, const float* in,
                  float* out) const;
  // One row of all terms, [terms, cols], into [cols]. `score` and `divisor` are
  // [cols] of scratch.
  void Combine(const float* terms, float* score, float* divisor,
               float* out) const;

  const TermRows& terms_;
  const MergeOptions options_;
  const double density_;
  const double epsilon_;
  const bool by_mergekit_;
  const bool elects_;
  const int64_t block_rows_;
  std::vector<float> weights_;
  std::vector<TermFacts> facts_;
};

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_METHODS_ENTRY_ROWS_H_
