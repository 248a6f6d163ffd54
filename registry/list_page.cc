#include "registry/list_page.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "registry/adapter_ref.h"
#include "registry/adapter_store.h"
#include "registry/key_codec.h"

namespace stockpot {

std::string EncodePageToken(const NameVersion& last) {
  return absl::WebSafeBase64Escape(ManifestKey(last));
}

absl::StatusOr<NameVersion> ParsePageToken(absl::string_view token,
                                           absl::string_view name_prefix) {
  std::string key;
  if (token.size() <= 1024 && absl::WebSafeBase64Unescape(token, &key)) {
    if (std::optional<NameVersion> last = ParseManifestKey(key);
        last.has_value() && ValidateName(last->name).ok() &&
        ValidateVersion(last->version).ok() &&
        absl::StartsWith(last->name, name_prefix)) {
      return *std::move(last);
    }
  }
  return absl::InvalidArgumentError(
      "page_token is not one that this listing returned; pass "
      "next_page_token back as it came, with the same name_prefix");
}

absl::Status ValidateListing(uint32_t page_size, absl::string_view name_prefix,
                             const Labels& labels) {
  if (page_size > kMaxPageSize) {
    return absl::InvalidArgumentError(absl::StrCat(
        "page_size is ", page_size, "; it must be in [0, ", kMaxPageSize, "]"));
  }
  // A prefix of a name is a name, but for its last character.
  if (!name_prefix.empty() &&
      (name_prefix.size() > kMaxNameBytes ||
       !ValidateName(
            absl::StrCat(name_prefix.substr(0, kMaxNameBytes - 1), "a"))
            .ok())) {
    return absl::InvalidArgumentError(
        "name_prefix is not the start of a name; a name has at most 128 of the "
        "characters a-z 0-9 . _ - and starts with a letter or a digit");
  }
  return ValidateLabels(labels);
}

bool HasLabels(const google::protobuf::Map<std::string, std::string>& stored,
               const Labels& wanted) {
  return std::all_of(wanted.begin(), wanted.end(), [&](const auto& label) {
    const auto it = stored.find(label.first);
    return it != stored.end() && it->second == label.second;
  });
}

}  // namespace stockpot
