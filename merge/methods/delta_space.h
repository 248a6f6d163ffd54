// The entry-wise rules on the updates themselves, s_i b_i a_i, which are
// [out, in] and never held: blocks of their rows are made from the factors as
// often as they are looked at.

#ifndef STOCKPOT_MERGE_METHODS_DELTA_SPACE_H_
#define STOCKPOT_MERGE_METHODS_DELTA_SPACE_H_

#include <cstdint>

#include "absl/types/span.h"

#include "base/stop_check.h"
#include "merge/merge_options.h"
#include "merge/methods/low_rank.h"

namespace stockpot {

// A merged update of up to so many entries is kept between the passes of its
// decomposition instead of being made again: 64 MiB. All but the output head of
// a model of 1B parameters are.
constexpr int64_t kKeptEntries = int64_t{1} << 24;

// Thrown out of MergeDeltas(): its loops call back for rows, which have no
// status to return, through code that does not know of stopping.
struct MergeStopped {};

// PEFT's "*_svd" and mergekit's rules: MergeEntries() on the dense updates,
// then StreamedSvd() to `rank`. Scales count once. Memory: the factors, blocks
// of 1 MiB a term, at most `kept_entries` floats, and what StreamedSvd() holds.
// Throws MergeStopped once `stopped`, which is asked whenever a block of rows
// is made; what follows the last of them takes a second at most. REQUIRES: at
// least one term, all of one shape [out, in]; rank >= 1.
LowRank MergeDeltas(absl::Span<const MergeTerm> terms, int64_t rank,
                    const MergeOptions& options, uint64_t stream,
                    int64_t kept_entries = kKeptEntries,
                    const StopCheck& stopped = nullptr);

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_METHODS_DELTA_SPACE_H_
