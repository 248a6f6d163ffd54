#include "client/text.h"

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "base/status_macros.h"

namespace stockpot {
namespace {

constexpr absl::string_view kReplacement = "\xEF\xBF\xBD";

uint8_t ByteAt(absl::string_view text, size_t i) {
  return static_cast<uint8_t>(text[i]);
}

// Bytes of a character that begins with `lead`; 0 if none does.
size_t BytesFromLead(uint8_t lead) {
  if (lead < 0x80) {
    return 1;
  }
  if (lead < 0xC2 || lead > 0xF4) {
    return 0;
  }
  return lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

// Bytes of the well-formed character at the front of `text`; 0 if ill-formed.
// Source: Unicode 15, table 3-7.
size_t CharacterBytes(absl::string_view text) {
  const uint8_t lead = ByteAt(text, 0);
  const size_t size = BytesFromLead(lead);
  if (size <= 1 || text.size() < size) {
    return size == 1 ? 1 : 0;
  }
  // Only the second byte's range depends on the lead.
  const uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (ByteAt(text, 1) < low || ByteAt(text, 1) > high) {
    return 0;
  }
  for (size_t i = 2; i < size; ++i) {
    if ((ByteAt(text, i) & 0xC0) != 0x80) {
      return 0;
    }
  }
  return size;
}

// C0 and DEL, and the C1 controls, which UTF-8 writes as C2 80 .. C2 9F.
bool IsControl(absl::string_view character) {
  const uint8_t first = ByteAt(character, 0);
  if (character.size() == 1) {
    return (first < 0x20 && first != '\n' && first != '\t') || first == 0x7F;
  }
  return character.size() == 2 && first == 0xC2 && ByteAt(character, 1) < 0xA0;
}

}  // namespace

std::string PrintableText(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t size = CharacterBytes(text);
    const absl::string_view character = text.substr(0, size == 0 ? 1 : size);
    absl::StrAppend(&out, IsControl(character) ? kReplacement : character);
    text.remove_prefix(character.size());
  }
  return out;
}

bool IsUtf8(absl::string_view text) {
  while (!text.empty()) {
    const size_t size = CharacterBytes(text);
    if (size == 0) {
      return false;
    }
    text.remove_prefix(size);
  }
  return true;
}

int CountCharacters(absl::string_view text) {
  int num_characters = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    num_characters += (ByteAt(text, i) & 0xC0) != 0x80;
  }
  return num_characters;
}

absl::StatusOr<std::string> Unescape(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      out.push_back(text[i]);
      continue;
    }
    const char escaped = ++i < text.size() ? text[i] : '\0';
    switch (escaped) {
      case 'n':
        out.push_back('\n');
        break;
      case 't':
        out.push_back('\t');
        break;
      case 'r':
        out.push_back('\r');
        break;
      case '\\':
        out.push_back('\\');
        break;
      default:
        return absl::InvalidArgumentError(
            absl::StrCat("unknown escape at byte ", i - 1, " of '", text,
                         R"('; \n, \t, \r and \\ are understood)"));
    }
  }
  return out;
}

absl::StatusOr<std::string> ApplyTemplate(absl::string_view format,
                                          absl::string_view prompt) {
  ASSIGN_OR_RETURN(const std::string text, Unescape(format));
  const size_t hole = text.find("{}");
  if (hole == std::string::npos ||
      text.find("{}", hole + 2) != std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("the template '", format,
                     "' must hold {} exactly once, where the prompt goes"));
  }
  return absl::StrCat(text.substr(0, hole), prompt, text.substr(hole + 2));
}

absl::StatusOr<std::pair<std::string, std::string>> ParseKeyValue(
    absl::string_view text) {
  const size_t equals = text.find('=');
  if (equals == absl::string_view::npos || equals == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "': expected KEY=VALUE"));
  }
  return std::make_pair(std::string(text.substr(0, equals)),
                        std::string(text.substr(equals + 1)));
}

std::string FormatBytes(uint64_t bytes) {
  if (bytes < 1024) {
    return absl::StrCat(bytes, " B");
  }
  const char* unit = "KiB";
  double value = static_cast<double>(bytes) / 1024;
  for (const char* next : {"MiB", "GiB", "TiB"}) {
    if (value < 1024) {
      break;
    }
    value /= 1024;
    unit = next;
  }
  return absl::StrFormat("%.1f %s", value, unit);
}

}  // namespace stockpot
