#include "client/progress_bar.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"

#include "client/text.h"

namespace stockpot {
namespace {

constexpr int kMinBar = 8;
constexpr int kMaxBar = 40;

// "0:05", "12:00", "1:02:03".
std::string FormatLeft(absl::Duration left) {
  const int64_t seconds = absl::ToInt64Seconds(left);
  if (seconds >= 3600) {
    return absl::StrFormat("%d:%02d:%02d", seconds / 3600, seconds / 60 % 60,
                           seconds % 60);
  }
  return absl::StrFormat("%d:%02d", seconds / 60, seconds % 60);
}

}  // namespace

std::string FormatProgress(absl::string_view verb, uint64_t done_bytes,
                           uint64_t total_bytes, absl::Duration elapsed,
                           int columns, uint64_t first_byte) {
  const double share =
      total_bytes == 0 ? 1
                       : std::min(1.0, static_cast<double>(done_bytes) /
                                           static_cast<double>(total_bytes));
  std::vector<std::string> words = {
      absl::StrFormat("%3d%%", static_cast<int>(share * 100)),
      absl::StrCat(FormatBytes(done_bytes), " of ", FormatBytes(total_bytes))};
  const double seconds = absl::ToDoubleSeconds(elapsed);
  if (seconds > 0 && done_bytes > first_byte) {
    const double rate = static_cast<double>(done_bytes - first_byte) / seconds;
    words.push_back(
        absl::StrCat(FormatBytes(static_cast<uint64_t>(rate)), "/s"));
    if (done_bytes < total_bytes) {
      words.push_back(absl::StrCat(
          FormatLeft(absl::Seconds(
              static_cast<double>(total_bytes - done_bytes) / rate)),
          " left"));
    }
  }
  std::string tail;
  const int room = columns - static_cast<int>(verb.size());
  for (const std::string& word : words) {
    if (static_cast<int>(tail.size() + 2 + word.size()) > room) {
      break;
    }
    absl::StrAppend(&tail, "  ", word);
  }
  // Two spaces and two brackets.
  const int bar = std::min(kMaxBar, room - static_cast<int>(tail.size()) - 4);
  if (bar < kMinBar) {
    return absl::StrCat(verb.substr(0, std::max(columns, 0)), tail);
  }
  const int filled = static_cast<int>(share * bar);
  return absl::StrCat(verb, "  [", std::string(filled, '#'),
                      std::string(bar - filled, '-'), "]", tail);
}

ProgressBar::ProgressBar(std::ostream* out, absl::string_view verb,
                         uint64_t total_bytes, int columns, uint64_t first_byte)
    : out_(out),
      verb_(verb),
      total_bytes_(total_bytes),
      columns_(columns),
      first_byte_(first_byte),
      start_(absl::Now()),
      next_draw_(start_) {}

ProgressBar::~ProgressBar() { Clear(); }

void ProgressBar::Update(uint64_t done_bytes) {
  const absl::Time now = absl::Now();
  if (out_ == nullptr || now < next_draw_) {
    return;
  }
  next_draw_ = now + absl::Milliseconds(100);
  is_drawn_ = true;
  // One column stays free: some terminals wrap when the last one is written.
  *out_ << '\r'
        << FormatProgress(verb_, done_bytes, total_bytes_, now - start_,
                          columns_ - 1, first_byte_)
        << "\x1b[K" << std::flush;
}

void ProgressBar::Clear() {
  if (is_drawn_) {
    *out_ << "\r\x1b[K" << std::flush;
    is_drawn_ = false;
  }
}

}  // namespace stockpot
