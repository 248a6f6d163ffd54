#include "formats/tokenizer/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "formats/tokenizer/unicode_additions.h"

namespace stockpot {
namespace {

// The length of a character by its first byte, and the bounds of its second.
// num_bytes 0: not a first byte. Source: Unicode standard, table 3-7.
struct LeadByte {
  int num_bytes;
  uint8_t lo;
  uint8_t hi;
};

LeadByte ClassifyLead(uint8_t b) {
  if (b < 0x80) return {1, 0x80, 0xBF};
  if (b < 0xC2) return {0, 0, 0};
  if (b < 0xE0) return {2, 0x80, 0xBF};
  if (b == 0xE0) return {3, 0xA0, 0xBF};
  if (b == 0xED) return {3, 0x80, 0x9F};
  if (b < 0xF0) return {3, 0x80, 0xBF};
  if (b == 0xF0) return {4, 0x90, 0xBF};
  if (b < 0xF4) return {4, 0x80, 0xBF};
  if (b == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

utf8proc_category_t Category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool IsMark(utf8proc_category_t category) {
  return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
         category == UTF8PROC_CATEGORY_ME;
}

// Alphabetic characters whose category is neither L nor M nor Nl: circled and
// squared Latin letters. Source: PropList.txt, Other_Alphabetic.
bool IsOtherAlphabetic(char32_t c) {
  return (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
         (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
}

}  // namespace

absl::Status ValidateUtf8(absl::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const LeadByte lead = ClassifyLead(static_cast<uint8_t>(text[i]));
    bool is_valid = lead.num_bytes > 0 && i + lead.num_bytes <= text.size();
    for (int k = 1; is_valid && k < lead.num_bytes; ++k) {
      const uint8_t b = static_cast<uint8_t>(text[i + k]);
      is_valid = k == 1 ? b >= lead.lo && b <= lead.hi : b >= 0x80 && b <= 0xBF;
    }
    if (!is_valid) {
      return absl::InvalidArgumentError(absl::StrCat(
          "text is not UTF-8: byte ", i, " (0x",
          absl::Hex(static_cast<uint8_t>(text[i]), absl::kZeroPad2),
          ") does not begin a well-formed character"));
    }
    i += lead.num_bytes;
  }
  return absl::OkStatus();
}

char32_t NextChar(absl::string_view text, size_t* pos) {
  const auto byte = [&](size_t i) {
    return static_cast<char32_t>(static_cast<uint8_t>(text[i]));
  };
  const size_t i = *pos;
  const char32_t b = byte(i);
  if (b < 0x80) {
    *pos = i + 1;
    return b;
  }
  if (b < 0xE0) {
    *pos = i + 2;
    return (b & 0x1F) << 6 | (byte(i + 1) & 0x3F);
  }
  if (b < 0xF0) {
    *pos = i + 3;
    return (b & 0x0F) << 12 | (byte(i + 1) & 0x3F) << 6 | (byte(i + 2) & 0x3F);
  }
  *pos = i + 4;
  return (b & 0x07) << 18 | (byte(i + 1) & 0x3F) << 12 |
         (byte(i + 2) & 0x3F) << 6 | (byte(i + 3) & 0x3F);
}

size_t PreviousCharStart(absl::string_view text, size_t end) {
  size_t i = end - 1;
  while (i > 0 && (static_cast<uint8_t>(text[i]) & 0xC0) == 0x80) --i;
  return i;
}

void AppendChar(char32_t c, std::string& out) {
  if (c < 0x80) {
    out.push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out.push_back(static_cast<char>(0xC0 | c >> 6));
    out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
  } else if (c < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | c >> 12));
    out.push_back(static_cast<char>(0x80 | (c >> 6 & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
  } else {
    out.push_back(static_cast<char>(0xF0 | c >> 18));
    out.push_back(static_cast<char>(0x80 | (c >> 12 & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (c >> 6 & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
  }
}

bool IsWhitespace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool IsNumeric(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  const utf8proc_category_t category = Category(c);
  return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL ||
         category == UTF8PROC_CATEGORY_NO || IsAddition(c, "N");
}

bool IsPunctuation(char32_t c) {
  if (c < 0x80) return absl::ascii_ispunct(static_cast<unsigned char>(c));
  const utf8proc_category_t category = Category(c);
  return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

bool IsWordCharacter(char32_t c) {
  if (c < 0x80) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_';
  }
  const utf8proc_category_t category = Category(c);
  return (category >= UTF8PROC_CATEGORY_LU &&
          category <= UTF8PROC_CATEGORY_LO) ||
         IsMark(category) || category == UTF8PROC_CATEGORY_ND ||
         category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_PC ||
         c == 0x200C || c == 0x200D || IsOtherAlphabetic(c) ||
         IsAddition(c, "L") || IsAddition(c, "M") || IsAddition(c, "Nd");
}

std::string Lowercase(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const char32_t c = NextChar(text, &i);
    if (c == 0x130) {  // The one character whose lower case is two.
      out.append("i\xCC\x87");
      continue;
    }
    AppendChar(static_cast<char32_t>(
                   utf8proc_tolower(static_cast<utf8proc_int32_t>(c))),
               out);
  }
  return out;
}

std::string NormalizeUnicode(absl::string_view text, NormalForm form) {
  const bool is_compat = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  const bool is_composed =
      form == NormalForm::kNfc || form == NormalForm::kNfkc;
  const auto decompose = static_cast<utf8proc_option_t>(
      UTF8PROC_DECOMPOSE | (is_compat ? UTF8PROC_COMPAT : 0));

  // No utf8proc_decompose on the whole text: it sorts combining marks in
  // quadratic time, which a stranger's megabyte of marks would find.
  std::vector<utf8proc_int32_t> chars;
  chars.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const char32_t c = NextChar(text, &i);
    utf8proc_int32_t buffer[32];
    int boundary = 0;
    const utf8proc_ssize_t n = utf8proc_decompose_char(
        static_cast<utf8proc_int32_t>(c), buffer, 32, decompose, &boundary);
    if (n < 0 || n > 32) {
      chars.push_back(static_cast<utf8proc_int32_t>(c));
    } else {
      chars.insert(chars.end(), buffer, buffer + n);
    }
  }
  const auto combining_class = [](utf8proc_int32_t c) {
    return utf8proc_get_property(c)->combining_class;
  };
  const auto is_starter = [&](utf8proc_int32_t c) {
    return combining_class(c) == 0;
  };
  for (auto begin = chars.begin(); begin != chars.end();) {
    begin = std::find_if_not(begin, chars.end(), is_starter);
    const auto end = std::find_if(begin, chars.end(), is_starter);
    if (end - begin > 1) {
      std::stable_sort(begin, end, [&](utf8proc_int32_t a, utf8proc_int32_t b) {
        return combining_class(a) < combining_class(b);
      });
    }
    begin = end;
  }
  size_t num_chars = chars.size();
  if (is_composed && num_chars > 0) {
    num_chars = static_cast<size_t>(std::max<utf8proc_ssize_t>(
        0, utf8proc_normalize_utf32(chars.data(),
                                    static_cast<utf8proc_ssize_t>(num_chars),
                                    static_cast<utf8proc_option_t>(
                                        UTF8PROC_COMPOSE | UTF8PROC_STABLE))));
  }
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < num_chars; ++i) {
    AppendChar(static_cast<char32_t>(chars[i]), out);
  }
  return out;
}

void LossyUtf8::Push(absl::string_view bytes, std::string& out) {
  for (const char b : bytes) PushByte(static_cast<uint8_t>(b), out);
}

void LossyUtf8::PushByte(uint8_t byte, std::string& out) {
  if (num_missing_ > 0) {
    if (byte >= lo_ && byte <= hi_) {
      pending_.push_back(static_cast<char>(byte));
      lo_ = 0x80;
      hi_ = 0xBF;
      if (--num_missing_ == 0) {
        out.append(pending_);
        pending_.clear();
      }
      return;
    }
    Finish(out);  // The broken part ends before this byte.
  }
  const LeadByte lead = ClassifyLead(byte);
  if (lead.num_bytes == 0) {
    out.append(kReplacementCharacter);
  } else if (lead.num_bytes == 1) {
    out.push_back(static_cast<char>(byte));
  } else {
    pending_.assign(1, static_cast<char>(byte));
    num_missing_ = lead.num_bytes - 1;
    lo_ = lead.lo;
    hi_ = lead.hi;
  }
}

void LossyUtf8::Finish(std::string& out) {
  const size_t num_broken =
      replace_ == Replace::kPerPart && !pending_.empty() ? 1 : pending_.size();
  for (size_t i = 0; i < num_broken; ++i) out.append(kReplacementCharacter);
  pending_.clear();
  num_missing_ = 0;
}

}  // namespace stockpot
