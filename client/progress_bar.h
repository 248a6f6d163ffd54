// ProgressBar redraws one line on a terminal while bytes move.
// Not thread-safe.

#ifndef STOCKPOT_CLIENT_PROGRESS_BAR_H_
#define STOCKPOT_CLIENT_PROGRESS_BAR_H_

#include <cstdint>
#include <ostream>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace stockpot {

// One line of at most `columns` characters, without a newline, as in
//   "uploading  [#####-----]  50%  13.0 MiB of 26.0 MiB  80.1 MiB/s  0:05
//   left".
// The rate is that of the bytes after `first_byte`: others were there before.
// On a narrow line the bar goes first, then the words from the right. Pure.
std::string FormatProgress(absl::string_view verb, uint64_t done_bytes,
                           uint64_t total_bytes, absl::Duration elapsed,
                           int columns, uint64_t first_byte = 0);

class ProgressBar {
 public:
  // Draws on `out`, which must outlive the bar, or nowhere if it is null.
  // `first_byte`: as FormatProgress().
  ProgressBar(std::ostream* out, absl::string_view verb, uint64_t total_bytes,
              int columns, uint64_t first_byte = 0);
  ~ProgressBar();  // As Clear().
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // Redraws at most ten times a second.
  void Update(uint64_t done_bytes);

  // Removes the line, so that other text can follow.
  void Clear();

 private:
  std::ostream* const out_;
  const std::string verb_;
  const uint64_t total_bytes_;
  const int columns_;
  const uint64_t first_byte_;
  const absl::Time start_;
  absl::Time next_draw_;
  bool is_drawn_ = false;
};

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_PROGRESS_BAR_H_
