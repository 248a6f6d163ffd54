#define PCRE2_CODE_UNIT_WIDTH 8

#include "formats/regex.h"

#include <pcre2.h>

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "base/status_macros.h"
#include "formats/quoted.h"

namespace stockpot {
namespace {

// Of one match, in KiB.
constexpr uint32_t kMaxHeapKib = 1024;
constexpr uint32_t kMaxNesting = 100;

std::string PcreMessage(int code) {
  PCRE2_UCHAR buffer[256];
  if (pcre2_get_error_message(code, buffer, sizeof(buffer)) < 0) {
    return absl::StrCat("PCRE2 error ", code);
  }
  return reinterpret_cast<const char*>(buffer);
}

template <typename T, void (*kFree)(T*)>
struct Deleter {
  void operator()(T* pointer) const { kFree(pointer); }
};
using CompileContext =
    std::unique_ptr<pcre2_compile_context,
                    Deleter<pcre2_compile_context, pcre2_compile_context_free>>;
using MatchContext =
    std::unique_ptr<pcre2_match_context,
                    Deleter<pcre2_match_context, pcre2_match_context_free>>;
using MatchData =
    std::unique_ptr<pcre2_match_data,
                    Deleter<pcre2_match_data, pcre2_match_data_free>>;

PCRE2_SPTR Chars(absl::string_view text) {
  // The library refuses a null pointer even for no characters.
  return reinterpret_cast<PCRE2_SPTR>(text.empty() ? "" : text.data());
}

}  // namespace

struct Regex::Code {
  explicit Code(pcre2_code* compiled, absl::string_view text)
      : pcre(compiled), pattern(text) {}
  ~Code() { pcre2_code_free(pcre); }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;

  pcre2_code* const pcre;
  const std::string pattern;
};

absl::StatusOr<Regex> Regex::Compile(absl::string_view pattern,
                                     uint32_t max_steps) {
  if (pattern.size() > kMaxPatternBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the regex has ", pattern.size(), " bytes; at most ",
                     kMaxPatternBytes, " are allowed"));
  }
  CompileContext context(pcre2_compile_context_create(nullptr));
  if (context == nullptr) {
    return absl::ResourceExhaustedError("no memory for a regex");
  }
  pcre2_set_parens_nest_limit(context.get(), kMaxNesting);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code =
      pcre2_compile(Chars(pattern), pattern.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error,
                    &offset, context.get());
  if (code == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        "bad regex ", Quoted(pattern), " at byte ",
        std::min<size_t>(offset, pattern.size()), ": ", PcreMessage(error)));
  }
  return Regex(std::make_shared<const Code>(code, pattern), max_steps);
}

absl::StatusOr<bool> Regex::FullMatch(absl::string_view subject) const {
  return Match(subject, PCRE2_ANCHORED | PCRE2_ENDANCHORED, nullptr, nullptr);
}

absl::StatusOr<bool> Regex::PrefixMatch(absl::string_view subject,
                                        const char* group_name,
                                        std::string* group) const {
  return Match(subject, PCRE2_ANCHORED, group_name, group);
}

absl::StatusOr<bool> Regex::Match(absl::string_view subject, uint32_t options,
                                  const char* group_name,
                                  std::string* group) const {
  MatchContext context(pcre2_match_context_create(nullptr));
  MatchData data(pcre2_match_data_create_from_pattern(code_->pcre, nullptr));
  if (context == nullptr || data == nullptr) {
    return absl::ResourceExhaustedError("no memory for a regex match");
  }
  pcre2_set_match_limit(context.get(), max_steps_);
  pcre2_set_heap_limit(context.get(), kMaxHeapKib);
  const int result = pcre2_match(code_->pcre, Chars(subject), subject.size(), 0,
                                 options, data.get(), context.get());
  if (result == PCRE2_ERROR_NOMATCH) {
    return false;
  }
  if (result < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("regex ", Quoted(code_->pattern), " on ", Quoted(subject),
                     ": ", PcreMessage(result)));
  }
  if (group != nullptr) {
    group->clear();
    PCRE2_UCHAR* text = nullptr;
    PCRE2_SIZE size = 0;
    if (pcre2_substring_get_byname(data.get(),
                                   reinterpret_cast<PCRE2_SPTR>(group_name),
                                   &text, &size) == 0) {
      group->assign(reinterpret_cast<const char*>(text), size);
      pcre2_substring_free(text);
    }
  }
  return true;
}

}  // namespace stockpot
