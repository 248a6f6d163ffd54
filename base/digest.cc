#include "base/digest.h"

#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace stockpot {

namespace {
constexpr absl::string_view kPrefix = "sha256:";
}  // namespace

absl::StatusOr<Digest> Digest::Parse(absl::string_view text) {
  if (!absl::StartsWith(text, kPrefix)) {
    return absl::InvalidArgumentError(
        "a digest is written \"sha256:\" and 64 lower-case hex digits");
  }
  return FromHex(text.substr(kPrefix.size()));
}

absl::StatusOr<Digest> Digest::FromHex(absl::string_view hex) {
  const bool well_formed =
      hex.size() == 64 &&
      hex.find_first_not_of("0123456789abcdef") == absl::string_view::npos;
  if (!well_formed) {
    return absl::InvalidArgumentError(
        absl::StrCat("a SHA-256 is written as 64 lower-case hex digits; got ",
                     hex.size(), " characters"));
  }
  const std::string raw = absl::HexStringToBytes(hex);
  Digest digest;
  std::memcpy(digest.bytes.data(), raw.data(), digest.bytes.size());
  return digest;
}

std::string Digest::ToString() const { return absl::StrCat(kPrefix, ToHex()); }

std::string Digest::ToHex() const {
  return absl::BytesToHexString(absl::string_view(
      reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

}  // namespace stockpot
