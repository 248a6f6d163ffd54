// What can be said about low-rank updates without data and without their dense
// form: for a registry that wants to know what it was given.

#ifndef STOCKPOT_MERGE_METHODS_INSPECT_H_
#define STOCKPOT_MERGE_METHODS_INSPECT_H_

#include "merge/methods/low_rank.h"
#include "merge/methods/update_statistics.h"

namespace stockpot {

// Of dW = scale b a. Costs two QR decompositions and rank x rank work.
// REQUIRES: finite entries.
UpdateStatistics Inspect(const LowRank& update, double scale);

// Of two updates of one module.
struct PairStatistics {
  // <dW_x, dW_y> / (||dW_x|| ||dW_y||), in [-1, 1]; 0 if one is zero.
  double cosine = 0;
  // ||Q_x^T Q_y||_F^2 / rank in [0, 1], where Q are orthonormal bases of what
  // b (output) or a^T (input) span and rank the smaller of their dimensions:
  // the share of the smaller subspace that lies in the other. arXiv:2604.16826
  // has it for equal ranks.
  double output_overlap = 0;
  double input_overlap = 0;
};

// Scales do not matter but for their signs, which count as positive.
// REQUIRES: equal shapes [out, in]; finite entries.
PairStatistics Compare(const LowRank& x, const LowRank& y);

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_METHODS_INSPECT_H_
