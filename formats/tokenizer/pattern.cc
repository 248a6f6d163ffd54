#define PCRE2_CODE_UNIT_WIDTH 8

#include "formats/tokenizer/pattern.h"

#include <pcre2.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "base/status_macros.h"
#include "formats/json.h"
#include "formats/quoted.h"
#include "formats/tokenizer/oniguruma.h"
#include "formats/tokenizer/unicode.h"

namespace stockpot {
namespace {

// One match may try this many steps; the longest that a tokenizer's own regex
// needs is about one per byte of a run of spaces.
constexpr uint32_t kMaxSteps = 1u << 26;
constexpr uint32_t kMaxHeapKib = 64 << 10;
constexpr size_t kMaxJitStackBytes = 8 << 20;

template <typename T, void (*kFree)(T*)>
struct Freer {
  void operator()(T* p) const { kFree(p); }
};
template <typename T, void (*kFree)(T*)>
using Owned = std::unique_ptr<T, Freer<T, kFree>>;
using OwnedData = Owned<pcre2_match_data, pcre2_match_data_free>;
using OwnedContext = Owned<pcre2_match_context, pcre2_match_context_free>;
using OwnedJitStack = Owned<pcre2_jit_stack, pcre2_jit_stack_free>;

std::string ErrorText(int code) {
  PCRE2_UCHAR buffer[256] = {};
  pcre2_get_error_message(code, buffer, sizeof(buffer));
  return reinterpret_cast<const char*>(buffer);
}

// Searches one text for one pattern, within the limits.
class Search {
 public:
  static absl::StatusOr<Search> New(const pcre2_code* code,
                                    absl::string_view text) {
    Search search(code, text);
    if (search.data_ == nullptr || search.context_ == nullptr) {
      return absl::ResourceExhaustedError("no memory for a regex match");
    }
    pcre2_set_match_limit(search.context_.get(), kMaxSteps);
    pcre2_set_heap_limit(search.context_.get(), kMaxHeapKib);
    return search;
  }

  // Finds the first match at `from` or behind it; false when there is none.
  absl::StatusOr<bool> Run(size_t from) {
    int rc = Match(from);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT && stack_ == nullptr) {
      // The default of 32 KiB is enough for nearly every text.
      stack_.reset(
          pcre2_jit_stack_create(32 << 10, kMaxJitStackBytes, nullptr));
      pcre2_jit_stack_assign(context_.get(), nullptr, stack_.get());
      rc = Match(from);
    }
    if (rc == PCRE2_ERROR_NOMATCH) return false;
    if (rc < 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "text is too hard for the tokenizer's regex: ", ErrorText(rc)));
    }
    return true;
  }

  // Of the match that Run found.
  size_t begin() const { return pcre2_get_ovector_pointer(data_.get())[0]; }
  size_t end() const { return pcre2_get_ovector_pointer(data_.get())[1]; }

 private:
  Search(const pcre2_code* code, absl::string_view text)
      : code_(code),
        text_(text),
        data_(pcre2_match_data_create(1, nullptr)),
        context_(pcre2_match_context_create(nullptr)) {}

  int Match(size_t from) {
    return pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text_.data()),
                       text_.size(), from, PCRE2_NO_UTF_CHECK, data_.get(),
                       context_.get());
  }

  const pcre2_code* code_;
  absl::string_view text_;
  OwnedData data_;
  OwnedContext context_;
  OwnedJitStack stack_;
};

}  // namespace

struct Pattern::Code {
  explicit Code(pcre2_code* c) : code(c) {}
  ~Code() { pcre2_code_free(code); }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;

  pcre2_code* code;
};

absl::StatusOr<Pattern> Pattern::FromJson(const nlohmann::json& json,
                                          absl::string_view where) {
  ASSIGN_OR_RETURN(auto literal, GetOptionalString(json, "String", where));
  if (literal.has_value()) {
    if (literal->empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ".String: an empty pattern is not supported"));
    }
    return Literal(*literal);
  }
  ASSIGN_OR_RETURN(auto regex, GetOptionalString(json, "Regex", where));
  if (!regex.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": expected {\"String\": ..} or {\"Regex\": ..}"));
  }
  absl::StatusOr<Pattern> pattern = Regex(*regex);
  if (!pattern.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ".Regex: ", pattern.status().message()));
  }
  return pattern;
}

Pattern Pattern::Literal(absl::string_view text) {
  Pattern pattern;
  pattern.literal_ = std::string(text);
  return pattern;
}

absl::StatusOr<Pattern> Pattern::Regex(absl::string_view regex) {
  if (regex.size() > kMaxPatternBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "regex of ", regex.size(), " bytes; at most ", kMaxPatternBytes));
  }
  ASSIGN_OR_RETURN(const std::string translated, PcreFromOniguruma(regex));
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error, &offset, nullptr);
  if (code == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("regex ", Quoted(regex, 400), ": ", ErrorText(error)));
  }
  Pattern pattern;
  pattern.code_ = std::make_shared<const Code>(code);
  // Without the just-in-time compiler PCRE2 interprets: slower, same matches.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  return pattern;
}

absl::StatusOr<std::vector<MatchSpan>> Pattern::FindMatches(
    absl::string_view text) const {
  if (text.empty()) return std::vector<MatchSpan>{MatchSpan{}};
  if (code_ != nullptr) return FindRegex(text);
  std::vector<MatchSpan> spans;
  size_t done = 0;
  while (done < text.size()) {
    const size_t at = text.find(literal_, done);
    const size_t begin = at == absl::string_view::npos ? text.size() : at;
    if (begin > done) {
      spans.push_back(
          {static_cast<uint32_t>(done), static_cast<uint32_t>(begin), false});
    }
    if (begin == text.size()) break;
    done = begin + literal_.size();
    spans.push_back(
        {static_cast<uint32_t>(begin), static_cast<uint32_t>(done), true});
  }
  return spans;
}

absl::StatusOr<std::vector<MatchSpan>> Pattern::FindRegex(
    absl::string_view text) const {
  ASSIGN_OR_RETURN(Search search, Search::New(code_->code, text));
  std::vector<MatchSpan> spans;
  size_t covered = 0;                 // Bytes that `spans` cover.
  size_t from = 0;                    // Where to search next.
  size_t last_end = text.size() + 1;  // Of the last match.
  while (from <= text.size()) {
    ASSIGN_OR_RETURN(const bool found, search.Run(from));
    if (!found) break;
    const size_t begin = search.begin();
    const size_t end = search.end();
    if (begin == end && end == last_end) {
      // As Oniguruma's iterator: no empty match right behind another match.
      if (from >= text.size()) break;
      NextChar(text, &from);
      continue;
    }
    if (begin > covered) {
      spans.push_back({static_cast<uint32_t>(covered),
                       static_cast<uint32_t>(begin), false});
    }
    spans.push_back(
        {static_cast<uint32_t>(begin), static_cast<uint32_t>(end), true});
    covered = from = last_end = end;
  }
  if (covered < text.size()) {
    spans.push_back({static_cast<uint32_t>(covered),
                     static_cast<uint32_t>(text.size()), false});
  }
  return spans;
}

}  // namespace stockpot
