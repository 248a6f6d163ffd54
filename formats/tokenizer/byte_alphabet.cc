#include "formats/tokenizer/byte_alphabet.h"

#include <cstddef>
#include <cstdint>

#include "formats/tokenizer/unicode.h"

namespace stockpot {
namespace {

// Bytes whose Latin-1 character is printable stand for themselves; the other 68
// are numbered from U+0100 in rising order.
char32_t CharOfByte(uint8_t b) {
  if (b <= 0x20) return 0x100 + b;
  if (b <= 0x7E) return b;
  if (b <= 0xA0) return 0x100 + 0x21 + (b - 0x7F);
  if (b == 0xAD) return 0x143;
  return b;
}

// The byte that `c` stands for, or -1.
int ByteOfChar(char32_t c) {
  if (c < 0x100) {
    const bool stands_for_itself =
        (c > 0x20 && c <= 0x7E) || (c > 0xA0 && c != 0xAD);
    return stands_for_itself ? static_cast<int>(c) : -1;
  }
  if (c <= 0x120) return static_cast<int>(c - 0x100);
  if (c <= 0x142) return static_cast<int>(c - 0x121 + 0x7F);
  return c == 0x143 ? 0xAD : -1;
}

}  // namespace

std::string ToByteAlphabet(absl::string_view bytes) {
  std::string out;
  out.reserve(2 * bytes.size());
  for (const char b : bytes)
    AppendChar(CharOfByte(static_cast<uint8_t>(b)), out);
  return out;
}

void AppendFromByteAlphabet(absl::string_view token, std::string& bytes) {
  const size_t old_size = bytes.size();
  for (size_t i = 0; i < token.size();) {
    const int byte = ByteOfChar(NextChar(token, &i));
    if (byte < 0) {
      bytes.resize(old_size);
      bytes.append(token.data(), token.size());
      return;
    }
    bytes.push_back(static_cast<char>(byte));
  }
}

}  // namespace stockpot
