#include "bench/length_distribution.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace stockpot {
namespace {

absl::Status Refuse(absl::string_view text) {
  return absl::InvalidArgumentError(absl::StrCat(
      "length distribution \"", text,
      "\": expected fixed:N, uniform:LOW-HIGH or lognormal:MEDIAN,SIGMA,MAX "
      "with lengths in 1..",
      LengthDistribution::kMaxLength));
}

bool ParseLength(absl::string_view text, int32_t& length) {
  return absl::SimpleAtoi(text, &length) && length >= 1 &&
         length <= LengthDistribution::kMaxLength;
}

}  // namespace

absl::StatusOr<LengthDistribution> LengthDistribution::Parse(
    absl::string_view text) {
  const std::pair<std::string, std::string> parts =
      absl::StrSplit(text, absl::MaxSplits(':', 1));
  const auto& [kind, rest] = parts;
  int32_t low = 0, high = 0;
  if (kind == "fixed" && ParseLength(rest, low)) {
    return LengthDistribution(low, low, 0, 0);
  }
  if (kind == "uniform") {
    const std::vector<std::string> ends = absl::StrSplit(rest, '-');
    if (ends.size() == 2 && ParseLength(ends[0], low) &&
        ParseLength(ends[1], high) && low <= high) {
      return LengthDistribution(low, high, 0, 0);
    }
  }
  if (kind == "lognormal") {
    const std::vector<std::string> args = absl::StrSplit(rest, ',');
    double median = 0, sigma = 0;
    if (args.size() == 3 && absl::SimpleAtod(args[0], &median) &&
        absl::SimpleAtod(args[1], &sigma) && ParseLength(args[2], high) &&
        median >= 1 && median <= kMaxLength && sigma > 0 && sigma <= 10) {
      return LengthDistribution(1, high, median, sigma);
    }
  }
  return Refuse(text);
}

int32_t LengthDistribution::Sample(std::mt19937_64& random) const {
  if (median_ == 0) {
    return std::uniform_int_distribution<int32_t>(min_, max_)(random);
  }
  const double length =
      std::lognormal_distribution<double>(std::log(median_), sigma_)(random);
  return static_cast<int32_t>(
      std::lround(std::clamp<double>(length, min_, max_)));
}

}  // namespace stockpot
