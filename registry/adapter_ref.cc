#include "registry/adapter_ref.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "base/digest.h"
#include "base/status_macros.h"

namespace stockpot {
namespace {

bool IsLowerOrDigit(char c) {
  return absl::ascii_islower(c) || absl::ascii_isdigit(c);
}

// True for [a-z0-9]([a-z0-9<inner>]*[a-z0-9])?.
bool IsPart(absl::string_view text, absl::string_view inner) {
  return !text.empty() && IsLowerOrDigit(text.front()) &&
         IsLowerOrDigit(text.back()) &&
         std::all_of(text.begin(), text.end(), [inner](char c) {
           return IsLowerOrDigit(c) || absl::StrContains(inner, c);
         });
}

// The start of `text`, made safe to put into a message.
std::string Quoted(absl::string_view text) {
  constexpr size_t kShown = 64;
  return absl::StrCat("\"", absl::CHexEscape(text.substr(0, kShown)),
                      text.size() > kShown ? "...\"" : "\"");
}

// Decodes the first code point of non-empty `text` into `*rune` and returns
// its length, or 0 if it is not well-formed UTF-8 (Unicode 15, table 3-7).
size_t DecodeUtf8(absl::string_view text, uint32_t* rune) {
  const auto byte = [&text](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) {
    *rune = lead;
    return 1;
  }
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) {
    return 0;
  }
  uint32_t value = lead & (0xFF >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) {
      return 0;
    }
    value = value << 6 | (byte(i) & 0x3F);
  }
  constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (value < kLeast[length] || value > 0x10FFFF ||
      (value >= 0xD800 && value <= 0xDFFF)) {
    return 0;
  }
  *rune = value;
  return length;
}

bool IsPrintableUtf8(absl::string_view text) {
  while (!text.empty()) {
    uint32_t rune = 0;
    const size_t length = DecodeUtf8(text, &rune);
    if (length == 0 || rune < 0x20 || (rune >= 0x7F && rune < 0xA0)) {
      return false;
    }
    text.remove_prefix(length);
  }
  return true;
}

}  // namespace

absl::Status ValidateName(absl::string_view name) {
  const size_t slash = name.find('/');
  const absl::string_view last =
      slash == absl::string_view::npos ? name : name.substr(slash + 1);
  bool ok = name.size() <= kMaxNameBytes && IsPart(last, "._-");
  if (slash != absl::string_view::npos) {
    const absl::string_view name_space = name.substr(0, slash);
    ok = ok && name_space.size() <= kMaxNamespaceBytes &&
         name_space != kDefaultNamespace && IsPart(name_space, "-");
  }
  if (!ok) {
    return absl::InvalidArgumentError(absl::StrCat(
        "adapter name ", Quoted(name), " is not allowed; a name has 1 to ",
        kMaxNameBytes,
        " of the characters a-z 0-9 . _ - and starts and ends with a letter "
        "or a digit; a namespace and a slash may stand before it, as in "
        "\"team-a/facts\", and has at most ",
        kMaxNamespaceBytes, " of a-z 0-9 -"));
  }
  return absl::OkStatus();
}

absl::string_view NamespaceOf(absl::string_view name) {
  const size_t slash = name.find('/');
  return slash == absl::string_view::npos ? absl::string_view()
                                          : name.substr(0, slash);
}

absl::Status ValidateAlias(absl::string_view alias) {
  bool ok = !alias.empty() && alias.size() <= kMaxAliasBytes &&
            absl::ascii_islower(alias.front());
  for (const char c : alias.substr(0, kMaxAliasBytes)) {
    ok = ok && (IsLowerOrDigit(c) || c == '_' || c == '-');
  }
  if (!ok) {
    return absl::InvalidArgumentError(absl::StrCat(
        "alias ", Quoted(alias), " is not allowed; an alias has 1 to ",
        kMaxAliasBytes,
        " of the characters a-z 0-9 _ - and starts with a letter"));
  }
  return absl::OkStatus();
}

absl::Status ValidateVersion(int64_t version) {
  if (version < 1 || version > kMaxVersion) {
    return absl::InvalidArgumentError(absl::StrCat(
        "version ", version, " is outside [1, ", kMaxVersion, "]"));
  }
  return absl::OkStatus();
}

absl::Status ValidateLabels(const Labels& labels) {
  if (labels.size() > kMaxLabels) {
    return absl::InvalidArgumentError(
        absl::StrCat(labels.size(), " labels were given; at most ", kMaxLabels,
                     " are allowed"));
  }
  for (const auto& [key, value] : labels) {
    bool ok = !key.empty() && key.size() <= kMaxLabelKeyBytes;
    for (const char c : absl::string_view(key).substr(0, kMaxLabelKeyBytes)) {
      ok = ok &&
           (IsLowerOrDigit(c) || c == '.' || c == '_' || c == '-' || c == '/');
    }
    if (!ok) {
      return absl::InvalidArgumentError(absl::StrCat(
          "label key ", Quoted(key), " is not allowed; a key has 1 to ",
          kMaxLabelKeyBytes, " of the characters a-z 0-9 . _ / -"));
    }
    if (value.size() > kMaxLabelValueBytes || !IsPrintableUtf8(value)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the value of label ", Quoted(key),
          " is not allowed; a value has at "
          "most ",
          kMaxLabelValueBytes, " bytes of UTF-8 without control characters"));
    }
  }
  return absl::OkStatus();
}

absl::Status ValidateText(absl::string_view field, absl::string_view text,
                          size_t max_bytes) {
  if (text.size() > max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(field, " has ", text.size(),
                                                   " bytes; at most ",
                                                   max_bytes, " are allowed"));
  }
  for (size_t at = 0; at < text.size();) {
    uint32_t rune = 0;
    const size_t length = DecodeUtf8(text.substr(at), &rune);
    if (length == 0 || rune == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(field, " is not UTF-8 text: see its byte ", at));
    }
    at += length;
  }
  return absl::OkStatus();
}

absl::StatusOr<AdapterRef> AdapterRef::Parse(absl::string_view text) {
  AdapterRef ref;
  if (absl::StartsWith(text, "sha256:")) {
    ASSIGN_OR_RETURN(ref.digest, Digest::Parse(text));
    return ref;
  }
  const size_t at = text.find('@');
  const absl::string_view name = text.substr(0, at);
  if (absl::Status status = ValidateName(name); !status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(
        status.message(),
        "; name an adapter as \"name\", \"name@3\", \"name@alias\" or "
        "\"sha256:<64 hex digits>\""));
  }
  ref.name = std::string(name);
  if (at == absl::string_view::npos) {
    return ref;
  }
  const absl::string_view rest = text.substr(at + 1);
  if (rest.empty() || !absl::ascii_isdigit(rest.front())) {
    RETURN_IF_ERROR(ValidateAlias(rest));
    ref.alias = std::string(rest);
    return ref;
  }
  bool digits = rest.size() <= 10 && rest.front() != '0';
  for (const char c : rest) {
    digits = digits && absl::ascii_isdigit(c);
  }
  if (!digits || !absl::SimpleAtoi(rest, &ref.version) ||
      !ValidateVersion(ref.version).ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("version ", Quoted(rest), " of adapter ", Quoted(name),
                     " is not a number in [1, ", kMaxVersion, "]"));
  }
  return ref;
}

std::string AdapterRef::ToString() const {
  if (digest.has_value()) {
    return digest->ToString();
  }
  if (version != 0) {
    return absl::StrCat(name, "@", version);
  }
  return alias.empty() ? name : absl::StrCat(name, "@", alias);
}

}  // namespace stockpot
