// The method of a recipe on the wire, as MergeOptions.

#ifndef STOCKPOT_SERVER_MERGE_OPTIONS_H_
#define STOCKPOT_SERVER_MERGE_OPTIONS_H_

#include "absl/status/statusor.h"

#include "proto/stockpot/v1/recipe.pb.h"

#include "merge/merge_options.h"

namespace stockpot {

// Unset fields take MergeOptions' defaults.
// Errors: those of CheckMergeOptions(); InvalidArgument naming an enumeration's
// field whose value is unknown, or a rank of 0.
absl::StatusOr<MergeOptions> ToMergeOptions(const v1::Recipe& recipe);

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_MERGE_OPTIONS_H_
