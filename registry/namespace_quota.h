// What a namespace may store. Free functions; thread-safe.

#ifndef STOCKPOT_REGISTRY_NAMESPACE_QUOTA_H_
#define STOCKPOT_REGISTRY_NAMESPACE_QUOTA_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stockpot {

// 0: no bound.
struct NamespaceQuota {
  // Of its adapters, deleted ones included, each version counted in full: what
  // others store must not show in what one may store.
  uint64_t max_bytes = 0;
  uint64_t max_adapters = 0;  // Versions, deleted ones included.
  // Uploads begun, refilled evenly; as many may come at once.
  uint32_t uploads_per_minute = 0;

  bool operator==(const NamespaceQuota&) const = default;
};

struct NamespaceQuotas {
  std::map<std::string, NamespaceQuota, std::less<>> named;
  NamespaceQuota others;  // Of all that are not named.

  const NamespaceQuota& Of(absl::string_view name_space) const;

  // Parses "team-a:bytes=1000000,adapters=20;*:uploads_per_minute=6": entries
  // with semicolons between. "*" is every namespace that is not named,
  // "default" that of names without a slash. Empty: no quotas.
  // Errors: InvalidArgument, with what is wrong and what was expected.
  static absl::StatusOr<NamespaceQuotas> Parse(absl::string_view text);
};

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_NAMESPACE_QUOTA_H_
