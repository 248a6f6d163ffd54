#include "registry/namespace_quota.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

#include "base/status_macros.h"
#include "registry/adapter_ref.h"

namespace stockpot {
namespace {

absl::Status BadQuota(absl::string_view entry, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(
      "namespace quota \"", entry, "\": ", why,
      "; expected NAMESPACE:bytes=N,adapters=N,uploads_per_minute=N"));
}

absl::Status ParseLimit(absl::string_view text, absl::string_view entry,
                        NamespaceQuota* quota) {
  const std::pair<absl::string_view, absl::string_view> pair =
      absl::StrSplit(text, absl::MaxSplits('=', 1));
  const absl::string_view key = absl::StripAsciiWhitespace(pair.first);
  bool ok = false;
  if (key == "bytes") {
    ok = absl::SimpleAtoi(pair.second, &quota->max_bytes);
  } else if (key == "adapters") {
    ok = absl::SimpleAtoi(pair.second, &quota->max_adapters);
  } else if (key == "uploads_per_minute") {
    ok = absl::SimpleAtoi(pair.second, &quota->uploads_per_minute);
  } else {
    return BadQuota(entry, absl::StrCat("\"", key, "\" is no limit"));
  }
  return ok ? absl::OkStatus()
            : BadQuota(entry, absl::StrCat("\"", text, "\" has no number"));
}

}  // namespace

const NamespaceQuota& NamespaceQuotas::Of(absl::string_view name_space) const {
  const auto it = named.find(name_space);
  return it != named.end() ? it->second : others;
}

absl::StatusOr<NamespaceQuotas> NamespaceQuotas::Parse(absl::string_view text) {
  NamespaceQuotas quotas;
  for (absl::string_view entry :
       absl::StrSplit(text, ';', absl::SkipWhitespace())) {
    entry = absl::StripAsciiWhitespace(entry);
    const std::vector<absl::string_view> parts =
        absl::StrSplit(entry, absl::MaxSplits(':', 1));
    if (parts.size() != 2) {
      return BadQuota(entry, "there is no colon");
    }
    NamespaceQuota quota;
    for (const absl::string_view limit : absl::StrSplit(parts[1], ',')) {
      RETURN_IF_ERROR(ParseLimit(limit, entry, &quota));
    }
    if (parts[0] == "*") {
      quotas.others = quota;
    } else if (parts[0] == kDefaultNamespace) {
      quotas.named[""] = quota;
    } else if (ValidateName(absl::StrCat(parts[0], "/a")).ok()) {
      quotas.named[std::string(parts[0])] = quota;
    } else {
      return BadQuota(entry, "that is no namespace");
    }
  }
  return quotas;
}

}  // namespace stockpot
