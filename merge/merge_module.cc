#include "merge/merge_module.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"

#include "base/status_macros.h"
#include "merge/methods/compress_then_merge.h"
#include "merge/methods/core_space.h"
#include "merge/methods/delta_space.h"
#include "merge/methods/entries.h"
#include "merge/methods/factor_space.h"
#include "merge/methods/iso.h"
#include "merge/methods/knots.h"
#include "merge/methods/pico.h"
#include "merge/methods/svd.h"
#include "merge/methods/tsv.h"

namespace stockpot {

namespace {

absl::Status CheckTerms(absl::Span<const MergeTerm> terms,
                        const MergeOptions& options) {
  const MergeTerm& first = terms[0];
  for (size_t i = 1; i < terms.size(); ++i) {
    if (NeedsEqualRanks(options) && terms[i].a.size(0) != first.a.size(0)) {
      return absl::FailedPreconditionError(absl::StrCat(
          MethodName(options.method),
          " looks at A and B apart and needs equal ranks; skill "
          "0 has ",
          first.a.size(0), " and skill ", i, " has ", terms[i].a.size(0)));
    }
    if (options.method == MergeMethod::kLoraHub &&
        terms[i].scale != first.scale) {
      return absl::FailedPreconditionError(
          absl::StrCat("lorahub needs equal scalings; skill 0 has ",
                       first.scale, " and skill ", i, " has ", terms[i].scale));
    }
  }
  return absl::OkStatus();
}

// The entry-wise rule within knots and compress_then_merge.
EntryRule InnerRule(MergeOptions options, uint64_t stream) {
  options.method = options.rule;
  options.dialect = MergeDialect::kPeft;
  options.elect_signs = true;
  return EntryRuleOf(options, 2 * stream);
}

LowRank MergeEntrywise(absl::Span<const MergeTerm> terms, int64_t rank,
                       const MergeOptions& options, uint64_t stream,
                       const StopCheck& stopped) {
  switch (options.space) {
    case MergeSpace::kFactors:
      return MergeFactors(terms, options, stream);
    case MergeSpace::kCore:
      return MergeInCoreSpace(terms, EntryRuleOf(options, 2 * stream), rank);
    case MergeSpace::kDelta:
      break;
  }
  return MergeDeltas(terms, rank, options, stream, kKeptEntries, stopped);
}

LowRank Merge(absl::Span<const MergeTerm> terms, int64_t rank,
              const MergeOptions& options, uint64_t stream,
              const StopCheck& stopped) {
  switch (options.method) {
    case MergeMethod::kCat:
      return Concatenate(terms);
    case MergeMethod::kLinear:
      return MergeLinear(terms);
    case MergeMethod::kLoraHub:
      return MergeLoraHub(terms);
    case MergeMethod::kSvd:
      return MergeSvd(terms, rank);
    case MergeMethod::kKnots:
      return MergeKnots(terms, InnerRule(options, stream), rank);
    case MergeMethod::kTsv:
      return MergeTsv(terms, rank);
    case MergeMethod::kIso:
      return MergeIso(terms, rank);
    case MergeMethod::kCompressThenMerge:
      return CompressThenMerge(terms, rank, InnerRule(options, stream),
                               {.beta = options.beta});
    case MergeMethod::kMagnitudePrune:
    case MergeMethod::kTies:
    case MergeMethod::kDare:
    case MergeMethod::kDella:
    case MergeMethod::kBreadcrumbs:
      break;
  }
  return MergeEntrywise(terms, rank, options, stream, stopped);
}

// Calibrated first and rescaled after with options.pico.
LowRank MergeCalibrated(absl::Span<const MergeTerm> terms, int64_t rank,
                        const MergeOptions& options, uint64_t stream,
                        const StopCheck& stopped) {
  if (!options.pico) {
    return Merge(terms, rank, options, stream, stopped);
  }
  return Rescaled(Merge(CalibratedTerms(terms), rank, options, stream, stopped),
                  terms);
}

absl::Status Stopped() {
  return absl::CancelledError("nobody waits for the merged recipe any more");
}

}  // namespace

int64_t MergedRank(const MergeOptions& options, absl::Span<const int64_t> ranks,
                   int64_t in, int64_t out) {
  if (options.method == MergeMethod::kCat) {
    return std::accumulate(ranks.begin(), ranks.end(), int64_t{0});
  }
  const int64_t largest = *std::max_element(ranks.begin(), ranks.end());
  if (!HasRank(options)) {
    return largest;
  }
  return std::min(
      {options.rank == 0 ? largest : int64_t{options.rank}, in, out});
}

absl::StatusOr<LowRank> MergeModule(absl::Span<const MergeTerm> terms,
                                    const MergeOptions& options,
                                    uint64_t stream, const StopCheck& stopped) {
  RETURN_IF_ERROR(CheckMergeOptions(options));
  RETURN_IF_ERROR(CheckTerms(terms, options));
  if (IsStopped(stopped)) {
    return Stopped();
  }
  std::vector<int64_t> ranks;
  for (const MergeTerm& term : terms) {
    ranks.push_back(term.a.size(0));
  }
  const int64_t rank =
      MergedRank(options, ranks, terms[0].a.size(1), terms[0].b.size(0));
  LowRank merged;
  try {
    merged = MergeCalibrated(terms, rank, options, stream, stopped);
  } catch (const MergeStopped&) {
    return Stopped();
  }
  if (options.lambda != 1) {
    merged.b = merged.b.mul(options.lambda);
  }
  return merged;
}

}  // namespace stockpot
