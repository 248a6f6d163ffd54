#include "formats/model_card.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"

namespace stockpot {
namespace {

constexpr size_t kMaxLicenseBytes = 128;

// Takes the first line off `text`, without its line break.
absl::string_view TakeLine(absl::string_view* text) {
  const size_t end = std::min(text->find('\n'), text->size());
  const absl::string_view line = text->substr(0, end);
  text->remove_prefix(std::min(end + 1, text->size()));
  return absl::StripSuffix(line, "\r");
}

// The scalar that follows "key:".
absl::string_view Scalar(absl::string_view text) {
  text = absl::StripAsciiWhitespace(text);
  if (!text.empty() && (text[0] == '"' || text[0] == '\'')) {
    const size_t end = text.find(text[0], 1);
    return end == absl::string_view::npos ? absl::string_view()
                                          : text.substr(1, end - 1);
  }
  // In YAML "#" begins a comment after a space only.
  return absl::StripAsciiWhitespace(text.substr(0, text.find(" #")));
}

bool IsExpression(absl::string_view text) {
  return text.size() <= kMaxLicenseBytes &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isalnum(c) || absl::StrContains(" .-+:()", c);
         });
}

}  // namespace

std::string LicenseOfCard(absl::string_view card) {
  if (absl::StripTrailingAsciiWhitespace(TakeLine(&card)) != "---") {
    return "";
  }
  while (!card.empty()) {
    absl::string_view line = TakeLine(&card);
    if (absl::StripTrailingAsciiWhitespace(line) == "---") {
      return "";
    }
    if (absl::ConsumePrefix(&line, "license:")) {
      const absl::string_view value = Scalar(line);
      return IsExpression(value) ? std::string(value) : "";
    }
  }
  return "";
}

}  // namespace stockpot
