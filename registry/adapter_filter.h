// Which adapters a listing returns. Free functions; thread-safe.

#ifndef STOCKPOT_REGISTRY_ADAPTER_FILTER_H_
#define STOCKPOT_REGISTRY_ADAPTER_FILTER_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "proto/stockpot/v1/storage.pb.h"

#include "registry/adapter_store.h"

namespace stockpot {

// Errors: InvalidArgument, naming the field.
absl::Status ValidateFilter(const AdapterFilter& filter);

// True if all of `filter` but its text matches.
bool MatchesFilter(const AdapterFilter& filter,
                   const storage::v1::AdapterManifest& manifest);

// True if `text` holds `wanted`, whatever the case of ASCII letters.
bool HoldsText(absl::string_view text, absl::string_view wanted);

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_ADAPTER_FILTER_H_
