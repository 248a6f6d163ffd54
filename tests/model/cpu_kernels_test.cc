#include "model/cpu_kernels.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace stockpot::kernels {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

float ToFloat(float x) { return x; }
float ToFloat(Bf16 x) {
  return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16);
}

template <typename T>
T FromFloat(float x) {
  if constexpr (std::is_same_v<T, float>) {
    return x;
  } else {
    const uint32_t bits = std::bit_cast<uint32_t>(x);
    if (std::isnan(x)) {
      return T{0x7fc0};
    }
    return T{static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
  }
}

// Storage rounding of a result near `x`: half a unit in the last place, and
// the error of float32 sums in another order.
template <typename T>
double Tolerance(double x) {
  return std::is_same_v<T, float> ? 2e-6 * (1 + std::abs(x))
                                  : 4.1e-3 * std::abs(x) + 1e-5;
}

template <typename T>
std::vector<T> Random(size_t n, uint64_t seed, float size = 2) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<float> uniform(-size, size);
  std::vector<T> values;
  for (size_t i = 0; i < n; ++i) {
    values.push_back(FromFloat<T>(uniform(random)));
  }
  return values;
}

template <typename T>
class CpuKernelsTest : public ::testing::Test {};
using StorageTypes = ::testing::Types<float, Bf16>;
TYPED_TEST_SUITE(CpuKernelsTest, StorageTypes);

// Odd sizes leave remainders for every vector width.
constexpr int64_t kSizes[] = {1, 2, 7, 16, 33, 576, 1027};

TYPED_TEST(CpuKernelsTest, AddRmsNormAddsThenNormalises) {
  using T = TypeParam;
  for (const int64_t n : kSizes) {
    const auto before = Random<T>(n, 1), delta = Random<T>(n, 2),
               weight = Random<T>(n, 3);
    for (const bool has_delta : {true, false}) {
      std::vector<T> residual = before, out(n);
      AddRmsNorm(residual.data(), has_delta ? delta.data() : nullptr,
                 weight.data(), 1e-5f, n, out.data());
      double sum = 0;
      for (int64_t i = 0; i < n; ++i) {
        const float expected =
            ToFloat(before[i]) + (has_delta ? ToFloat(delta[i]) : 0);
        ASSERT_EQ(ToFloat(residual[i]), ToFloat(FromFloat<T>(expected)));
        sum += double{ToFloat(residual[i])} * ToFloat(residual[i]);
      }
      for (int64_t i = 0; i < n; ++i) {
        const double expected = ToFloat(weight[i]) * ToFloat(residual[i]) /
                                std::sqrt(sum / n + 1e-5);
        ASSERT_NEAR(ToFloat(out[i]), expected, Tolerance<T>(expected));
      }
    }
  }
}

TYPED_TEST(CpuKernelsTest, RotatePairsValuesHalfAHeadApart) {
  using T = TypeParam;
  for (const int64_t dim : {2, 20, 64}) {
    const int64_t heads = 3;
    const auto before = Random<T>(heads * dim, 4);
    const auto angles = Random<float>(dim / 2, 5, 3.14f);
    std::vector<float> cosines, sines;
    for (const float angle : angles) {
      cosines.push_back(std::cos(angle));
      sines.push_back(std::sin(angle));
    }
    std::vector<T> x = before;
    Rotate(x.data(), heads, dim, cosines.data(), sines.data());
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t i = 0; i < dim / 2; ++i) {
        const double a = ToFloat(before[h * dim + i]);
        const double b = ToFloat(before[h * dim + i + dim / 2]);
        const double first = a * cosines[i] - b * sines[i];
        const double second = b * cosines[i] + a * sines[i];
        ASSERT_NEAR(ToFloat(x[h * dim + i]), first, Tolerance<T>(first));
        ASSERT_NEAR(ToFloat(x[h * dim + i + dim / 2]), second,
                    Tolerance<T>(second));
      }
    }
  }
}

TYPED_TEST(CpuKernelsTest, SiluMulIsExactOverTheWholeRange) {
  using T = TypeParam;
  for (const int64_t n : kSizes) {
    const auto gate = Random<T>(n, 6, 30), up = Random<T>(n, 7);
    std::vector<T> out(n);
    SiluMul(gate.data(), up.data(), n, out.data());
    for (int64_t i = 0; i < n; ++i) {
      const double g = ToFloat(gate[i]);
      const double expected = g / (1 + std::exp(-g)) * ToFloat(up[i]);
      ASSERT_NEAR(ToFloat(out[i]), expected, Tolerance<T>(expected)) << g;
    }
  }
}

TYPED_TEST(CpuKernelsTest, SiluMulOfLargeGatesNeitherOverflowsNorHidesNan) {
  using T = TypeParam;
  std::vector<T> gate, up(4, FromFloat<T>(1)), out(4);
  for (const float g : {-200.0f, 200.0f, -1e30f, kNan}) {
    gate.push_back(FromFloat<T>(g));
  }
  SiluMul(gate.data(), up.data(), 4, out.data());
  EXPECT_NEAR(ToFloat(out[0]), 0, 1e-30);
  EXPECT_EQ(ToFloat(out[1]), 200);
  EXPECT_TRUE(std::isnan(ToFloat(out[3])));
}

TYPED_TEST(CpuKernelsTest, AttendIsTheSoftmaxOverScatteredBlocks) {
  using T = TypeParam;
  constexpr int64_t kBlockTokens = 16, kKvHeads = 3, kNumBlocks = 12;
  for (const int64_t dim : {4, 20, 64}) {
    for (const int64_t context : {1, 15, 16, 17, 100}) {
      const int64_t group = 2, kv_head = 1;
      const size_t size = kNumBlocks * kBlockTokens * kKvHeads * dim;
      const auto keys = Random<T>(size, 10), values = Random<T>(size, 11),
                 query = Random<T>(group * dim, 12);
      const std::vector<int32_t> blocks = {7, 2, 11, 0, 5, 9, 3};
      const KvView<T> kv{keys.data(),  values.data(), blocks.data(),
                         kBlockTokens, kKvHeads,      dim};
      std::vector<float> scratch(group * (context + 2 * dim));
      std::vector<T> out(group * dim);
      const float scale = 0.3f;
      Attend(query.data(), kv, kv_head, group, context, scale, scratch.data(),
             out.data());
      const auto at = [&](const std::vector<T>& cache, int64_t token,
                          int64_t i) {
        const int64_t slot =
            blocks[token / kBlockTokens] * kBlockTokens + token % kBlockTokens;
        return double{ToFloat(cache[(slot * kKvHeads + kv_head) * dim + i])};
      };
      for (int64_t g = 0; g < group; ++g) {
        std::vector<double> weights(context);
        double sum = 0;
        for (int64_t t = 0; t < context; ++t) {
          double dot = 0;
          for (int64_t i = 0; i < dim; ++i) {
            dot += ToFloat(query[g * dim + i]) * at(keys, t, i);
          }
          sum += weights[t] = std::exp(dot * scale);
        }
        for (int64_t i = 0; i < dim; ++i) {
          double expected = 0;
          for (int64_t t = 0; t < context; ++t) {
            expected += weights[t] / sum * at(values, t, i);
          }
          ASSERT_NEAR(ToFloat(out[g * dim + i]), expected,
                      Tolerance<T>(expected) + 3e-6)
              << "dim " << dim << " context " << context;
        }
      }
    }
  }
}

TYPED_TEST(CpuKernelsTest, AttendSurvivesScoresThatExpCannotHold) {
  using T = TypeParam;
  constexpr int64_t kDim = 2;
  // Scores 0, 1000 and 1000: the softmax is 0, 1/2 and 1/2.
  const std::vector<float> k = {0, 0, 100, 0, 100, 0};
  const std::vector<float> v = {9, 9, 1, 2, 3, 4};
  std::vector<T> keys, values;
  for (int i = 0; i < 6; ++i) {
    keys.push_back(FromFloat<T>(k[i]));
    values.push_back(FromFloat<T>(v[i]));
  }
  const std::vector<T> query = {FromFloat<T>(10), FromFloat<T>(0)};
  const std::vector<int32_t> blocks = {0};
  const KvView<T> kv{keys.data(), values.data(), blocks.data(), 4, 1, kDim};
  std::vector<float> scratch(3 + 2 * kDim);
  std::vector<T> out(kDim);
  Attend(query.data(), kv, 0, 1, 3, 1.0f, scratch.data(), out.data());
  EXPECT_FLOAT_EQ(ToFloat(out[0]), 2);
  EXPECT_FLOAT_EQ(ToFloat(out[1]), 3);
}

}  // namespace
}  // namespace stockpot::kernels
