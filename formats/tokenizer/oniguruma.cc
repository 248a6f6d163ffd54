#include "formats/tokenizer/oniguruma.h"

#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "base/status_macros.h"
#include "formats/quoted.h"
#include "formats/tokenizer/unicode_additions.h"

namespace stockpot {
namespace {

// The insides of character classes.
constexpr char kSpace[] =
    "\\x{9}-\\x{D}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}"
    "\\x{2029}\\x{202F}\\x{205F}\\x{3000}";
constexpr char kNotSpace[] =
    "\\x{0}-\\x{8}\\x{E}-\\x{1F}\\x{21}-\\x{84}\\x{86}-\\x{9F}\\x{A1}-\\x{167F}"
    "\\x{1681}-\\x{1FFF}\\x{200B}-\\x{2027}\\x{202A}-\\x{202E}\\x{2030}-"
    "\\x{205E}\\x{2060}-\\x{2FFF}\\x{3001}-\\x{10FFFF}";
// Oniguruma also takes six Latin-1 numbers for word characters.
constexpr char kWord[] =
    "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}";

class Translator {
 public:
  explicit Translator(absl::string_view pattern) : pattern_(pattern) {}

  absl::StatusOr<std::string> Run() {
    while (i_ < pattern_.size()) {
      const char c = pattern_[i_];
      if (c == '\\') {
        RETURN_IF_ERROR(Escape());
      } else if (in_class_) {
        RETURN_IF_ERROR(InClass(c));
      } else if (c == '[') {
        OpenClass();
      } else if (c == '(') {
        RETURN_IF_ERROR(Group());
      } else if (c == '{') {
        RETURN_IF_ERROR(Interval());
      } else {
        Copy(1);
      }
    }
    if (in_class_) return Refuse("a class without its \"]\"");
    return std::move(out_);
  }

 private:
  absl::Status Refuse(absl::string_view what) const {
    return absl::InvalidArgumentError(
        absl::StrCat("regex ", Quoted(pattern_, 400), ": ", what, " at byte ",
                     i_, " is not supported"));
  }
  void Copy(size_t n) {
    absl::StrAppend(&out_, pattern_.substr(i_, n));
    i_ += n;
  }
  // Appends a class's inside, in brackets when not within a class already.
  void AppendClass(absl::string_view inside, bool is_negated = false) {
    if (in_class_) {
      out_.append(inside.data(), inside.size());
    } else {
      absl::StrAppend(&out_, is_negated ? "[^" : "[", inside, "]");
    }
  }

  void OpenClass() {
    in_class_ = true;
    Copy(1);
    if (i_ < pattern_.size() && pattern_[i_] == '^') Copy(1);
    // A "]" in first place stands for itself.
    if (i_ < pattern_.size() && pattern_[i_] == ']') Copy(1);
  }

  absl::Status InClass(char c) {
    if (c == '[') return Refuse("a class within a class");
    if (absl::StartsWith(pattern_.substr(i_), "&&")) {
      return Refuse("the intersection \"&&\"");
    }
    if (c == ']') in_class_ = false;
    Copy(1);
    return absl::OkStatus();
  }

  absl::Status Group() {
    const absl::string_view rest = pattern_.substr(i_);
    if (!absl::StartsWith(rest, "(?")) {
      Copy(1);
      return absl::OkStatus();
    }
    for (const absl::string_view known :
         {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:", "(?-i:", "(?i)",
          "(?-i)"}) {
      if (absl::StartsWith(rest, known)) {
        Copy(known.size());
        return absl::OkStatus();
      }
    }
    return Refuse(absl::StrCat("the group ", Quoted(rest.substr(0, 4))));
  }

  absl::Status Interval() {
    const size_t end = pattern_.find('}', i_);
    const absl::string_view inside =
        end == absl::string_view::npos ? absl::string_view()
                                       : pattern_.substr(i_ + 1, end - i_ - 1);
    bool is_interval = !inside.empty() && inside != ",";
    for (const char c : inside) {
      is_interval = is_interval && (absl::ascii_isdigit(c) || c == ',');
    }
    if (!is_interval) {
      out_.append("\\{");
      ++i_;
      return absl::OkStatus();
    }
    if (end + 1 < pattern_.size() && pattern_[end + 1] == '+') {
      // Possessive in PCRE2, a repeated repeat in Oniguruma.
      return Refuse("\"+\" behind an interval");
    }
    absl::StrAppend(&out_, "{", inside[0] == ',' ? "0" : "", inside, "}");
    i_ = end + 1;
    return absl::OkStatus();
  }

  absl::Status Escape() {
    if (i_ + 1 >= pattern_.size()) return Refuse("a trailing \"\\\"");
    const char c = pattern_[i_ + 1];
    switch (c) {
      case 'p':
      case 'P':
        return Property(c == 'P');
      case 'x':
        return HexEscape();
      case 'u':
        return UnicodeEscape();
      case 's':
        AppendClass(kSpace);
        break;
      case 'S':
        AppendClass(kNotSpace);
        break;
      case 'd':
        AppendClass(absl::StrCat("\\p{Nd}", AdditionsAsClass("Nd")));
        break;
      case 'w':
      case 'W': {
        if (in_class_ && c == 'W') return Refuse("\"\\W\" within a class");
        AppendClass(absl::StrCat(kWord, AdditionsAsClass("L"),
                                 AdditionsAsClass("M"), AdditionsAsClass("Nd")),
                    c == 'W');
        break;
      }
      case 'D':
        if (in_class_) return Refuse("\"\\D\" within a class");
        AppendClass(absl::StrCat("\\p{Nd}", AdditionsAsClass("Nd")), true);
        break;
      case 'h':
        AppendClass("0-9A-Fa-f");
        break;
      default: {
        const bool is_known = absl::ascii_ispunct(c) ||
                              absl::StrContains("rntfvae", c) ||
                              (!in_class_ && absl::StrContains("AzZbB", c));
        if (!is_known && static_cast<unsigned char>(c) < 0x80) {
          return Refuse(absl::StrCat("\"\\", std::string(1, c), "\""));
        }
        if (c == 'v') {  // One character here, a class in PCRE2.
          out_.append("\\x0b");
          i_ += 2;
        } else {
          Copy(2);
        }
        return absl::OkStatus();
      }
    }
    i_ += 2;
    return absl::OkStatus();
  }

  absl::Status HexEscape() {
    size_t end = i_ + 2;
    if (end < pattern_.size() && pattern_[end] == '{') {
      end = pattern_.find('}', end);
      if (end == absl::string_view::npos) return Refuse("\"\\x{\"");
      ++end;
    } else {
      while (end < pattern_.size() && end < i_ + 4 &&
             absl::ascii_isxdigit(pattern_[end])) {
        ++end;
      }
      // Oniguruma reads a byte there, not a character.
      if (end - i_ != 4 || pattern_[i_ + 2] > '7') return Refuse("\"\\x\"");
    }
    Copy(end - i_);
    return absl::OkStatus();
  }

  absl::Status UnicodeEscape() {
    const absl::string_view digits = pattern_.substr(i_ + 2, 4);
    bool is_hex = digits.size() == 4;
    for (const char c : digits) is_hex = is_hex && absl::ascii_isxdigit(c);
    if (!is_hex) return Refuse("\"\\u\"");
    absl::StrAppend(&out_, "\\x{", digits, "}");
    i_ += 6;
    return absl::OkStatus();
  }

  // \p{L}, \p{^L}, \P{L}, \p{Han}.
  absl::Status Property(bool is_negated) {
    const size_t end = pattern_.find('}', i_);
    if (end == absl::string_view::npos || i_ + 2 >= pattern_.size() ||
        pattern_[i_ + 2] != '{') {
      return Refuse("\"\\p\" without \"{\"");
    }
    absl::string_view name = pattern_.substr(i_ + 3, end - i_ - 3);
    if (!name.empty() && name[0] == '^') {
      is_negated = !is_negated;
      name.remove_prefix(1);
    }
    for (const char c : name) {
      if (!absl::ascii_isalpha(c)) return Refuse("the name of a property");
    }
    if (name.empty()) return Refuse("a property without name");
    // PCRE2's \p{Han} means Script_Extensions, Oniguruma's means Script.
    const std::string property =
        name.size() <= 2 ? std::string(name) : absl::StrCat("sc:", name);
    if (is_negated && in_class_) {
      // A class cannot take ranges away, so here the newest characters count
      // as what PCRE2's tables say: unassigned.
      absl::StrAppend(&out_, "\\P{", property, "}");
    } else {
      AppendClass(absl::StrCat("\\p{", property, "}", AdditionsAsClass(name)),
                  is_negated);
    }
    i_ = end + 1;
    return absl::OkStatus();
  }

  absl::string_view pattern_;
  size_t i_ = 0;
  bool in_class_ = false;
  std::string out_;
};

}  // namespace

absl::StatusOr<std::string> PcreFromOniguruma(absl::string_view pattern) {
  return Translator(pattern).Run();
}

}  // namespace stockpot
