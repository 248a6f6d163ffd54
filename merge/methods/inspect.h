// What can be said about low-rank updates without data and without their dense
// form: for a registry that wants to know what it was given.

#ifndef STOCKPOT_MERGE_METHODS_INSPECT_H_
#define STOCKPOT_MERGE_METHODS_INSPECT_H_

#include <cstdint>

#include "merge/methods/low_rank.h"

namespace stockpot {

// Of one module's dW, with singular values sigma by falling size. All zero for
// an update that is zero.
struct UpdateStatistics {
  double frobenius_norm = 0;
  double spectral_norm = 0;  // sigma_1
  // frobenius_norm^2 / sigma_1^2, in [1, rank]: how many directions share the
  // energy.
  double stable_rank = 0;
  // exp of the entropy of sigma / sum sigma, in [1, rank]. Roy and Vetterli,
  // EUSIPCO 2007.
  double effective_rank = 0;
  // Fewest singular values that hold 90% of the energy.
  int64_t k90 = 0;
  int64_t rank = 0;  // Of the factors.
  // Ranks j with ||b_j|| ||a_j|| at most kNegligible of the largest.
  int64_t dead_ranks = 0;
  // Never trained: LoRA starts from b = 0.
  bool b_is_zero = false;
};

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
