#include "formats/finite_scanner.h"

#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"

#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

template <typename T>
std::string BytesOf(const std::vector<T>& values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

TEST(CheckFiniteTest, ExtremesOfEachDtypeAreFiniteAndWhatIsBeyondIsNot) {
  using F = std::numeric_limits<float>;
  EXPECT_THAT(CheckFinite(Dtype::kF32,
                          BytesOf<float>({0.f, -0.f, F::max(), F::lowest(),
                                          F::denorm_min(), F::min()}),
                          "t"),
              IsOk());
  for (float bad :
       {F::infinity(), -F::infinity(), F::quiet_NaN(), -F::signaling_NaN()}) {
    EXPECT_THAT(
        CheckFinite(Dtype::kF32, BytesOf<float>({1.f, bad, 2.f}), "t"),
        StatusIs(kInvalid, AllOf(HasSubstr("\"t\""), HasSubstr("element 1 "))));
  }
  // F16: 65504 is 0x7BFF, infinity 0x7C00. BF16: the largest is 0x7F7F.
  EXPECT_THAT(
      CheckFinite(Dtype::kF16, BytesOf<uint16_t>({0x7BFF, 0xFBFF}), "t"),
      IsOk());
  EXPECT_THAT(
      CheckFinite(Dtype::kBF16, BytesOf<uint16_t>({0x7F7F, 0xFF7F}), "t"),
      IsOk());
  for (uint16_t bad : {0x7C00, 0xFC00, 0x7E00, 0x7C01}) {
    EXPECT_THAT(CheckFinite(Dtype::kF16, BytesOf<uint16_t>({bad}), "t"),
                StatusIs(kInvalid, HasSubstr("element 0 ")));
  }
  for (uint16_t bad : {0x7F80, 0xFF80, 0x7FC0, 0x7F81}) {
    EXPECT_THAT(CheckFinite(Dtype::kBF16, BytesOf<uint16_t>({bad}), "t"),
                StatusIs(kInvalid, HasSubstr("element 0 ")));
  }
  EXPECT_THAT(
      CheckFinite(Dtype::kF64,
                  BytesOf<double>({0, std::numeric_limits<double>::infinity()}),
                  "t"),
      StatusIs(kInvalid, HasSubstr("element 1 ")));
}

TEST(CheckFiniteTest, EveryPlaceIsLookedAtAlsoWhenUnaligned) {
  for (size_t at : {0u, 1u, 2047u, 2048u, 2049u, 4999u}) {
    std::vector<float> values(5000, 1.f);
    values[at] = std::numeric_limits<float>::infinity();
    const std::string bytes = "x" + BytesOf(values);
    EXPECT_THAT(
        CheckFinite(Dtype::kF32, absl::string_view(bytes).substr(1), "t"),
        StatusIs(kInvalid, HasSubstr(absl::StrCat("element ", at, " "))));
  }
}

// Tensors a (F32, 3), e (empty) and b (BF16, 5).
SafetensorsHeader TestHeader() {
  SafetensorsHeader header;
  header.tensors = {{"a", Dtype::kF32, {3}, 0, 12},
                    {"e", Dtype::kF32, {0}, 12, 12},
                    {"b", Dtype::kBF16, {5}, 12, 22}};
  return header;
}

std::string TestData(int bad_b) {
  std::vector<uint16_t> b(5, 0x3F80);
  if (bad_b >= 0) {
    b[bad_b] = 0x7F80;
  }
  return BytesOf<float>({1, 2, 3}) + BytesOf(b);
}

TEST(FiniteScannerTest, ChunkBordersDoNotMatter) {
  const SafetensorsHeader header = TestHeader();
  for (size_t chunk = 1; chunk <= 23; ++chunk) {
    for (int bad = -1; bad < 5; ++bad) {
      const std::string data = TestData(bad);
      FiniteScanner scanner(header);
      absl::Status status;
      for (size_t i = 0; i < data.size() && status.ok(); i += chunk) {
        status = scanner.Feed(absl::string_view(data).substr(i, chunk));
      }
      if (bad < 0) {
        EXPECT_THAT(status, IsOk());
        EXPECT_THAT(scanner.Finish(), IsOk());
      } else {
        EXPECT_THAT(
            status,
            StatusIs(kInvalid,
                     AllOf(HasSubstr("\"b\""),
                           HasSubstr(absl::StrCat("element ", bad, " ")))));
      }
    }
  }
}

TEST(FiniteScannerTest, TooFewAndTooManyBytesAreErrors) {
  const SafetensorsHeader header = TestHeader();
  FiniteScanner scanner(header);
  EXPECT_THAT(scanner.Feed(TestData(-1).substr(0, 21)), IsOk());
  EXPECT_THAT(scanner.Finish(), StatusIs(kInvalid, HasSubstr("only 21")));
  EXPECT_THAT(scanner.Feed("xy"),
              StatusIs(kInvalid, HasSubstr("follow the last tensor")));
}

}  // namespace
}  // namespace stockpot
