// A Digest names bytes by their SHA-256. Equal digests mean equal bytes; it is
// the only identity used in cache keys, because names can be uploaded again.

#ifndef STOCKPOT_BASE_DIGEST_H_
#define STOCKPOT_BASE_DIGEST_H_

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stockpot {

struct Digest {
  std::array<uint8_t, 32> bytes{};

  // Parses "sha256:<64 lower-case hex digits>"; InvalidArgument otherwise.
  static absl::StatusOr<Digest> Parse(absl::string_view text);
  // Parses the 64 lower-case hex digits alone; InvalidArgument otherwise.
  static absl::StatusOr<Digest> FromHex(absl::string_view hex);

  std::string ToString() const;  // "sha256:<hex>"
  std::string ToHex() const;     // 64 lower-case hex digits.

  auto operator<=>(const Digest&) const = default;

  template <typename H>
  friend H AbslHashValue(H h, const Digest& d) {
    return H::combine(std::move(h), d.bytes);
  }
};

}  // namespace stockpot

#endif  // STOCKPOT_BASE_DIGEST_H_
