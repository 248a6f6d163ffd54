// One module's part of a merge, by any method.

#ifndef STOCKPOT_MERGE_MERGE_MODULE_H_
#define STOCKPOT_MERGE_MERGE_MODULE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "base/stop_check.h"
#include "merge/merge_options.h"
#include "merge/methods/low_rank.h"

namespace stockpot {

// The most ranks that MergeModule() gives for terms of these `ranks`, of which
// there is at least one.
int64_t MergedRank(const MergeOptions& options, absl::Span<const int64_t> ranks,
                   int64_t in, int64_t out);

// Merges the terms of one module as `options` say: calibrated first and
// rescaled after with options.pico, then times options.lambda. `stream` tells
// the masks of this module from those of others; the module's index will do.
//
// Errors: InvalidArgument from CheckMergeOptions(); FailedPrecondition if the
// method needs equal ranks, or for lorahub equal scales, and the terms have
// others; Cancelled once `stopped`, which is asked at the start and for every
// block of rows in the delta space. Throws c10::Error only when libtorch does.
// REQUIRES: at least one term, all of one shape [out, in], float32 on the CPU.
absl::StatusOr<LowRank> MergeModule(absl::Span<const MergeTerm> terms,
                                    const MergeOptions& options,
                                    uint64_t stream,
                                    const StopCheck& stopped = nullptr);

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_MERGE_MODULE_H_
