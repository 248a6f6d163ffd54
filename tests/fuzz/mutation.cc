#include "tests/fuzz/mutation.h"

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <random>
#include <string>
#include <vector>

namespace stockpot::testing {
namespace {

constexpr size_t kMaxRun = 64;

// Numbers at which code breaks.
constexpr const char* kNumbers[] = {"0",          "1",
                                    "2",          "-1",
                                    "4294967296", "9223372036854775807",
                                    "1e9",        "18446744073709551615",
                                    "0.5"};

void ChangeNumber(std::string* text, std::mt19937_64& random) {
  const size_t start = random() % text->size();
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto digit = std::find_if(text->begin() + start, text->end(), is_digit);
  const auto end = std::find_if_not(digit, text->end(), is_digit);
  if (digit == end) {
    return;
  }
  if (random() % 2 == 0 && end - digit < 9) {
    // A near miss: sizes and offsets off by a little.
    const long value = std::stol(std::string(digit, end));
    text->replace(digit, end,
                  std::to_string(std::max(
                      0L, value + static_cast<long>(random() % 9) - 4)));
  } else {
    text->replace(digit, end, kNumbers[random() % std::size(kNumbers)]);
  }
}

void Change(const std::vector<std::string>& corpus, std::string* text,
            std::mt19937_64& random) {
  if (text->empty()) {
    text->push_back(static_cast<char>(random()));
    return;
  }
  const size_t at = random() % text->size();
  const size_t run = 1 + random() % std::min(kMaxRun, text->size() - at);
  switch (random() % 7) {
    case 0:
      (*text)[at] = static_cast<char>((*text)[at] ^ (1 << (random() % 8)));
      return;
    case 1:
      text->insert(at, 1, static_cast<char>(random()));
      return;
    case 2:
      text->erase(at, run);
      return;
    case 3:
      text->insert(at, text->substr(at, run));
      return;
    case 4:
      text->resize(at);
      return;
    case 5: {
      const std::string& other = corpus[random() % corpus.size()];
      if (!other.empty()) {
        text->insert(at, other.substr(random() % other.size(), run));
      }
      return;
    }
    default:
      ChangeNumber(text, random);
  }
}

}  // namespace

std::string Mutate(const std::vector<std::string>& corpus,
                   std::mt19937_64& random) {
  std::string text = corpus[random() % corpus.size()];
  for (uint64_t i = 0, changes = 1 + random() % 4; i < changes; ++i) {
    Change(corpus, &text, random);
  }
  return text;
}

}  // namespace stockpot::testing
