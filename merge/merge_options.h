// MergeOptions says by which formula a recipe's skills become one update, with
// the numbers that the formula takes.
//
// A method names one formula, written out with its source in
// docs/composition.md. Plain data; no torch.

#ifndef STOCKPOT_MERGE_MERGE_OPTIONS_H_
#define STOCKPOT_MERGE_MERGE_OPTIONS_H_

#include <cstdint>

namespace stockpot {

// DO NOT RENUMBER any of these: the values are hashed into Recipe::digest().
enum class MergeMethod : uint8_t {
  kCat = 1,      // dW = sum_i w_i s_i B_i A_i, exact. arXiv:2410.13025.
  kLinear = 2,   // PEFT's "linear": square roots on both factors, cross terms.
  kLoraHub = 3,  // (sum_i w_i B_i)(sum_i w_i A_i). arXiv:2307.13269.
  kSvd = 4,      // The best rank-r approximation of cat's dW.
  kMagnitudePrune = 5,
  kTies = 6,                // arXiv:2306.01708.
  kDare = 7,                // arXiv:2311.03099.
  kDella = 8,               // arXiv:2406.11617.
  kBreadcrumbs = 9,         // arXiv:2312.06795.
  kKnots = 10,              // arXiv:2410.19735.
  kTsv = 11,                // TSV-M, arXiv:2412.00081, in core space.
  kIso = 12,                // Iso-C, arXiv:2502.04959, in core space.
  kCompressThenMerge = 13,  // arXiv:2606.03723.
};

// Where the rules that look at single entries look.
enum class MergeSpace : uint8_t {
  kDelta = 1,    // w_i s_i B_i A_i, then factored again to `rank`.
  kFactors = 2,  // A and B apart, as PEFT does; needs equal ranks.
  kCore = 3,     // The joint low-rank basis, arXiv:2509.17786.
};

enum class SignElection : uint8_t {
  kTotal = 1,      // Sign of the sum.
  kFrequency = 2,  // Sign of the majority.
};

// Whose reading of TIES and DARE.
enum class MergeDialect : uint8_t {
  kPeft = 1,      // Unweighted election, divide by count, DARE by 1 / density.
  kMergekit = 2,  // Weighted election, divide by sum of weights, L1 rescale.
};

struct MergeOptions {
  MergeMethod method = MergeMethod::kCat;
  MergeSpace space = MergeSpace::kDelta;
  MergeDialect dialect = MergeDialect::kPeft;
  SignElection sign_election = SignElection::kTotal;
  // Whether kDare, kDella and kBreadcrumbs elect signs as kTies does.
  bool elect_signs = false;
  // Share of entries kept, in (0, 1].
  float density = 0.5f;
  // kDella: half the width of the keep probabilities around `density`.
  float epsilon = 0.1f;
  // kBreadcrumbs: share of the largest entries dropped.
  float gamma = 0.01f;
  // Multiplies the merged update.
  float lambda = 1;
  // Of the methods that draw masks. Equal seeds give equal factors everywhere.
  uint64_t seed = 0;
  // Of the result, in [1, 512]; 0: the largest rank among the skills.
  uint32_t rank = 0;
  // Calibrate the skills first. arXiv:2604.16826 (Pico).
  bool pico = false;
};

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_MERGE_OPTIONS_H_
