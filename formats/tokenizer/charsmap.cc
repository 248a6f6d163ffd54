#include "formats/tokenizer/charsmap.h"

#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace stockpot {
namespace {

uint32_t LittleEndian32(absl::string_view bytes) {
  uint32_t value = 0;
  for (int i = 3; i >= 0; --i) {
    value = value << 8 | static_cast<uint8_t>(bytes[i]);
  }
  return value;
}

// The parts of a darts-clone unit.
bool HasLeaf(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t Value(uint32_t unit) { return unit & 0x7FFFFFFF; }
uint32_t Label(uint32_t unit) { return unit & 0x800000FF; }
uint32_t Offset(uint32_t unit) { return unit >> 10 << ((unit & 0x200) >> 6); }

}  // namespace

absl::StatusOr<Charsmap> Charsmap::Parse(absl::string_view bytes) {
  Charsmap map;
  if (bytes.empty()) return map;
  const uint32_t trie_bytes = bytes.size() < 4 ? 0 : LittleEndian32(bytes);
  if (trie_bytes == 0 || trie_bytes % 4 != 0 || trie_bytes > bytes.size() - 4) {
    return absl::InvalidArgumentError(
        absl::StrCat("precompiled_charsmap: a trie of ", trie_bytes,
                     " bytes in ", bytes.size()));
  }
  for (size_t i = 0; i < trie_bytes; i += 4) {
    map.units_.push_back(LittleEndian32(bytes.substr(4 + i)));
  }
  map.replacements_ = std::string(bytes.substr(4 + trie_bytes));
  map.replacements_.push_back('\0');
  return map;
}

Charsmap::Match Charsmap::Longest(absl::string_view text) const {
  Match match;
  if (units_.empty()) return match;
  // Every index is checked: the table may be a stranger's.
  uint32_t node = Offset(units_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const uint32_t byte = static_cast<uint8_t>(text[i]);
    node ^= byte;
    if (node >= units_.size() || Label(units_[node]) != byte) break;
    const uint32_t unit = units_[node];
    node ^= Offset(unit);
    if (!HasLeaf(unit)) continue;
    const uint32_t value = node < units_.size() ? Value(units_[node]) : ~0u;
    if (value < replacements_.size()) {
      match.length = i + 1;
      match.replacement = replacements_.c_str() + value;
    }
  }
  return match;
}

}  // namespace stockpot
