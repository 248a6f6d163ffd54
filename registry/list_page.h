// What all listings of the registry share: page tokens, prefixes and labels.
// Free functions; thread-safe.

#ifndef STOCKPOT_REGISTRY_LIST_PAGE_H_
#define STOCKPOT_REGISTRY_LIST_PAGE_H_

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include <google/protobuf/map.h>

#include "registry/adapter_ref.h"
#include "registry/key_codec.h"

namespace stockpot {

// What a page may cost, whatever its filters leave out.
inline constexpr size_t kMaxLookedAt = 10000;
inline constexpr size_t kMaxPageBytes = size_t{2} << 20;

// Names the last entry that a page looked at; opaque to clients.
std::string EncodePageToken(const NameVersion& last);

// Errors: InvalidArgument (no token of a listing with this prefix).
absl::StatusOr<NameVersion> ParsePageToken(absl::string_view token,
                                           absl::string_view name_prefix);

// Errors: InvalidArgument (page size, prefix or labels out of their bounds).
absl::Status ValidateListing(uint32_t page_size, absl::string_view name_prefix,
                             const Labels& labels);

// True if `stored` holds all of `wanted`.
bool HasLabels(const google::protobuf::Map<std::string, std::string>& stored,
               const Labels& wanted);

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_LIST_PAGE_H_
