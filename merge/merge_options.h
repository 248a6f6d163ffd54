// MergeOptions says by which formula a recipe's skills become one update, with
// the numbers that the formula takes.
//
// A method names one formula, written out with its source in
// docs/composition.md. Plain data; no torch.

#ifndef STOCKPOT_MERGE_MERGE_OPTIONS_H_
#define STOCKPOT_MERGE_MERGE_OPTIONS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

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
  kDelta = 1,    // s_i B_i A_i, then factored again to `rank`.
  kFactors = 2,  // A and B apart, as PEFT does; needs equal ranks.
  kCore = 3,     // The joint low-rank basis, arXiv:2509.17786.
};

enum class SignElection : uint8_t {
  kTotal = 1,      // Sign of the sum.
  kFrequency = 2,  // Sign of the majority.
};

// Whose reading of the entry-wise rules.
enum class MergeDialect : uint8_t {
  kPeft = 1,      // Unweighted election, divide by count, rescale by 1 / p.
  kMergekit = 2,  // Weighted election, divide by sum of weights, L1 rescale.
};

struct MergeOptions {
  static constexpr uint32_t kMaxRank = 512;
  static constexpr float kMaxLambda = 100;

  MergeMethod method = MergeMethod::kCat;
  MergeSpace space = MergeSpace::kDelta;
  MergeDialect dialect = MergeDialect::kPeft;
  SignElection sign_election = SignElection::kTotal;
  // Whether kDare, kDella and kBreadcrumbs elect signs as kTies does.
  bool elect_signs = false;
  // The entry-wise rule within kKnots and kCompressThenMerge: kTies, or kDare
  // with the election.
  MergeMethod rule = MergeMethod::kTies;
  // Share of entries kept, in (0, 1].
  float density = 0.5f;
  // kDella: half the width of the keep probabilities around `density`, which
  // must stay in (0, 1].
  float epsilon = 0.1f;
  // kBreadcrumbs: share of the largest entries dropped. In [0, 1), with
  // `density` at most 1.
  float gamma = 0.01f;
  // Multiplies the merged update. Finite, at most kMaxLambda in size, not 0.
  float lambda = 1;
  // kCompressThenMerge: how much the skills' own strengths shape the shared
  // bases, in [0, 1]; 0 makes all equal.
  float beta = 1;
  // Of the methods that draw masks. Equal seeds give equal masks everywhere.
  uint64_t seed = 0;
  // Of the result, in [1, kMaxRank]; 0: the largest rank among the skills.
  uint32_t rank = 0;
  // Calibrate the skills first. arXiv:2604.16826 (Pico).
  bool pico = false;
};

// "cat", "magnitude_prune", ...: the field of stockpot.v1.Recipe.method.
// "unknown" for a value that is none.
const char* MethodName(MergeMethod method);

// Every method, in the order of the enumeration.
std::vector<MergeMethod> AllMethods();

// Whether a recipe by these options runs as one derived adapter, rather than as
// coefficients over its skills' own factors.
bool IsDerived(const MergeOptions& options);

// Whether the method looks at A and B apart and so needs equal ranks.
bool NeedsEqualRanks(const MergeOptions& options);

// Whether the result has a rank of its own: `rank`, or the largest.
bool HasRank(const MergeOptions& options);

// Checks the options that the method reads and that none is set which excludes
// another. Errors: InvalidArgument naming the field, as "recipe.ties.density".
absl::Status CheckMergeOptions(const MergeOptions& options);

// An option that a method reads.
struct MergeOption {
  const char* name = "";  // As on the wire.
  uint64_t bits = 0;      // Its value, for hashing.
  std::string text;       // Its value, for people.
};

// The options that `options.method` reads, in a fixed order: what else is set
// has no meaning. Empty for cat, linear and lorahub.
std::vector<MergeOption> CanonicalOptions(const MergeOptions& options);

// "cat", or "ties(density=0.3,sign_election=total,...)" with every option that
// the method reads.
std::string MethodText(const MergeOptions& options);

// The decimal that `value` was most likely written as: 0.7 for 0.7f. Counts of
// entries are taken from it, as programs do that read 0.7 as a double.
double AsWritten(float value);

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_MERGE_OPTIONS_H_
