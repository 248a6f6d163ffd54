// How adapters may be called, and the text forms that name one.
//
// Names, aliases and labels come from strangers: everything here bounds and
// checks them before they become keys. Free functions; thread-safe.

#ifndef STOCKPOT_REGISTRY_ADAPTER_REF_H_
#define STOCKPOT_REGISTRY_ADAPTER_REF_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/digest.h"

namespace stockpot {

inline constexpr size_t kMaxNameBytes = 128;
inline constexpr size_t kMaxNamespaceBytes = 63;
inline constexpr size_t kMaxAliasBytes = 63;
inline constexpr size_t kMaxLabels = 64;
inline constexpr size_t kMaxLabelKeyBytes = 63;
inline constexpr size_t kMaxLabelValueBytes = 256;
inline constexpr size_t kMaxLicenseBytes = 128;
inline constexpr size_t kMaxSignerBytes = 64;
// Versions lie in [1, kMaxVersion].
inline constexpr int64_t kMaxVersion = (int64_t{1} << 31) - 1;

using Labels = std::map<std::string, std::string>;

// Names one stored adapter. At most one of `version`, `alias` and `digest` is
// set; none means the newest version of `name`.
struct AdapterRef {
  std::string name;              // Empty only if `digest` is set.
  int64_t version = 0;           // 0: not given.
  std::string alias;             // Empty: not given.
  std::optional<Digest> digest;  // Of the adapter's canonical content.

  // Parses "name", "name@3", "name@alias" or "sha256:<64 hex digits>".
  // Errors: InvalidArgument, saying what a name may look like.
  static absl::StatusOr<AdapterRef> Parse(absl::string_view text);

  // The text that Parse() reads back to this ref.
  std::string ToString() const;

  bool operator==(const AdapterRef&) const = default;
};

// How quotas call the namespace of names without a slash; no name has it.
inline constexpr absl::string_view kDefaultNamespace = "default";

// Accepts [a-z0-9]([a-z0-9._-]*[a-z0-9])?, by itself or after a namespace and a
// slash, of at most 128 bytes together. A namespace is
// [a-z0-9]([a-z0-9-]*[a-z0-9])? of at most 63 bytes and not "default".
// Errors: InvalidArgument.
absl::Status ValidateName(absl::string_view name);

// The part of `name` before the slash; empty if it has none.
absl::string_view NamespaceOf(absl::string_view name);

// Accepts [a-z][a-z0-9_-]{0,62}. Errors: InvalidArgument.
absl::Status ValidateAlias(absl::string_view alias);

// Accepts [1, 2^31). Errors: InvalidArgument.
absl::Status ValidateVersion(int64_t version);

// Accepts at most 64 labels with keys [a-z0-9._/-]{1,63} and values of at most
// 256 bytes of printable UTF-8 (no control characters).
// Errors: InvalidArgument, naming the label.
absl::Status ValidateLabels(const Labels& labels);

// Accepts UTF-8 without NUL of at most `max_bytes` bytes; line breaks are fine.
// Errors: InvalidArgument, which calls the text `field`.
absl::Status ValidateText(absl::string_view field, absl::string_view text,
                          size_t max_bytes);

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_ADAPTER_REF_H_
