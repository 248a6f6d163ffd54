// The truncated singular value decomposition of a matrix that exists only row
// by row.

#ifndef STOCKPOT_MERGE_METHODS_STREAMED_SVD_H_
#define STOCKPOT_MERGE_METHODS_STREAMED_SVD_H_

#include <cstdint>
#include <functional>

#include <ATen/core/Tensor.h>

#include "merge/methods/low_rank.h"

namespace stockpot {

struct RowSource {
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t block_rows = 1;  // At most so many are asked for at a time.
  // Rows first to first + count, [count, cols] float32; the same each time.
  std::function<at::Tensor(int64_t first, int64_t count)> get;
};

struct StreamedSvdOptions {
  // Directions carried beyond `rank`; they make the leading ones converge.
  int64_t oversampling = 16;
  // Ends when a pass adds less than this share to the energy sum sigma_i^2 of
  // the leading `rank` directions. The error of the approximation, squared, is
  // then within a small multiple of this share of the matrix' own energy of the
  // best possible.
  double tolerance = 1e-5;
  int max_passes = 16;
};

// The best approximation of `matrix` of at most `rank` ranks, to the tolerance:
// b = U S, a = V^T with orthonormal rows, the entry of largest magnitude of
// each row of a positive.
//
// Block power iteration on M^T M from a fixed start, one pass over the rows
// each: Y = M V, Z = M^T Y, V <- orth(Z) (Halko, Martinsson, Tropp,
// arXiv:0909.4061, algorithm 4.4). Holds (rows + 3 cols) (rank + oversampling)
// floats. REQUIRES: rank >= 1.
LowRank StreamedSvd(const RowSource& matrix, int64_t rank,
                    const StreamedSvdOptions& options = {});

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_METHODS_STREAMED_SVD_H_
