// What is said about one module's update without data. No torch.

#ifndef STOCKPOT_MERGE_METHODS_UPDATE_STATISTICS_H_
#define STOCKPOT_MERGE_METHODS_UPDATE_STATISTICS_H_

#include <cstdint>

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
  // Ranks j with ||b_j|| ||a_j|| at most kNegligible (1e-5,
  // merge/methods/decompositions.h) of the largest.
  int64_t dead_ranks = 0;
  // Never trained: LoRA starts from b = 0.
  bool b_is_zero = false;
};

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_METHODS_UPDATE_STATISTICS_H_
