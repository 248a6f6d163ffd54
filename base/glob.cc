#include "base/glob.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace stockpot {

namespace {

// reachable[i] says that the part of a pattern read so far matches path[0, i);
// these are the same after one more star.
std::vector<bool> AfterStar(absl::string_view path,
                            const std::vector<bool>& reachable,
                            bool crosses_dots) {
  std::vector<bool> next(reachable.size(), false);
  bool open = false;
  for (size_t i = 0; i <= path.size(); ++i) {
    open = open || reachable[i];
    next[i] = open;
    if (i < path.size() && path[i] == '.' && !crosses_dots) {
      open = false;
    }
  }
  return next;
}

// Whether `pattern` (no braces) matches all of `path`.
bool MatchesOne(absl::string_view pattern, absl::string_view path) {
  std::vector<bool> reachable(path.size() + 1, false);
  reachable[0] = true;
  for (size_t p = 0; p < pattern.size(); ++p) {
    const char c = pattern[p];
    if (c == '*') {
      const bool crosses_dots = p + 1 < pattern.size() && pattern[p + 1] == '*';
      p += crosses_dots ? 1 : 0;
      reachable = AfterStar(path, reachable, crosses_dots);
      continue;
    }
    std::vector<bool> next(path.size() + 1, false);
    for (size_t i = 0; i < path.size(); ++i) {
      const bool same = c == '?' ? path[i] != '.' : path[i] == c;
      next[i + 1] = reachable[i] && same;
    }
    reachable = std::move(next);
  }
  return reachable[path.size()];
}

}  // namespace

absl::StatusOr<Glob> Glob::Parse(absl::string_view pattern) {
  if (pattern.empty() || pattern.size() > kMaxBytes) {
    return absl::InvalidArgumentError(absl::StrCat("a module pattern has 1 to ",
                                                   kMaxBytes, " bytes; got ",
                                                   pattern.size()));
  }
  Glob glob;
  glob.alternatives_ = {""};
  while (!pattern.empty()) {
    const size_t brace = pattern.find_first_of("{}");
    const absl::string_view literal = pattern.substr(0, brace);
    for (std::string& alternative : glob.alternatives_) {
      absl::StrAppend(&alternative, literal);
    }
    if (brace == absl::string_view::npos) {
      break;
    }
    const size_t close = pattern.find_first_of("{}", brace + 1);
    if (pattern[brace] == '}' || close == absl::string_view::npos ||
        pattern[close] == '{') {
      return absl::InvalidArgumentError(
          "a module pattern has an unbalanced or nested brace; write "
          "{a,b} with plain alternatives");
    }
    std::vector<std::string> expanded;
    for (const absl::string_view choice :
         absl::StrSplit(pattern.substr(brace + 1, close - brace - 1), ',')) {
      for (const std::string& prefix : glob.alternatives_) {
        expanded.push_back(absl::StrCat(prefix, choice));
      }
      if (expanded.size() > kMaxAlternatives) {
        return absl::InvalidArgumentError(
            absl::StrCat("a module pattern expands to more than ",
                         kMaxAlternatives, " alternatives"));
      }
    }
    glob.alternatives_ = std::move(expanded);
    pattern.remove_prefix(close + 1);
  }
  return glob;
}

bool Glob::Matches(absl::string_view path) const {
  for (const std::string& alternative : alternatives_) {
    if (MatchesOne(alternative, path)) {
      return true;
    }
  }
  return false;
}

size_t Glob::expanded_bytes() const {
  size_t total = 0;
  for (const std::string& alternative : alternatives_) {
    total += alternative.size();
  }
  return total;
}

}  // namespace stockpot
