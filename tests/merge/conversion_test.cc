// Conversions that cannot keep the whole update: what they keep, and what they
// say about it. Exact ones are in kinds_golden_test.cc.

#include "merge/conversion.h"

#include <algorithm>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/fft_ifft2.h>
#include <ATen/ops/kron.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randperm.h>
#include <ATen/ops/real.h>
#include <ATen/ops/zeros.h>

#include "merge/dora.h"
#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

// Values whose rows get weaker, as trained factors do: rank 512 is enough.
at::Tensor Fading(int64_t rows, int64_t columns, double fade, uint64_t seed) {
  return at::randn({rows, columns}, at::detail::createCPUGenerator(seed),
                   at::kFloat) *
         (at::arange(columns, at::kFloat) * -fade).exp();
}

AdaptedModule Served(int64_t rank, bool is_exact) {
  AdaptedModule adapted;
  adapted.rank = rank;
  adapted.is_exact = is_exact;
  return adapted;
}

double EnergyOf(const at::Tensor& t) {
  return t.to(at::kDouble).square().sum().item<double>();
}

// That `converted` is `update` up to the share that it says it leaves out.
void ExpectKeeps(const ConvertedModule& converted, const at::Tensor& update) {
  EXPECT_LE(converted.a.size(0), kMaxServedRank);
  EXPECT_GE(converted.kept_energy, kConversionEnergy);
  const at::Tensor product =
      converted.b.to(at::kDouble).matmul(converted.a.to(at::kDouble));
  const double lost = EnergyOf(update - product) / EnergyOf(update);
  EXPECT_NEAR(lost, 1 - converted.kept_energy, 1e-6);
}

const BaseModule kModule = {"model.layers.0.mlp.up_proj", 640, 600};

TEST(ConversionTest, LohaBeyondTheRankKeepsTheLargestPart) {
  RawParts parts;
  parts[AdapterPart::kHadaW1A] = Fading(600, 24, 0.2, 1);
  parts[AdapterPart::kHadaW1B] = Fading(640, 24, 0.2, 2).t();
  parts[AdapterPart::kHadaW2A] = Fading(600, 24, 0.2, 3);
  parts[AdapterPart::kHadaW2B] = Fading(640, 24, 0.2, 4).t();
  const AdaptedModule adapted = Served(512, /*is_exact=*/false);
  const auto converted =
      ConvertModule(kModule, adapted, {.kind = AdapterKind::kLoha}, parts, {});
  ASSERT_THAT(converted, IsOk());
  const auto product = [&](AdapterPart a, AdapterPart b) {
    return parts[a].to(at::kDouble).matmul(parts[b].to(at::kDouble));
  };
  ExpectKeeps(*converted,
              product(AdapterPart::kHadaW1A, AdapterPart::kHadaW1B) *
                  product(AdapterPart::kHadaW2A, AdapterPart::kHadaW2B));
  // No more ranks than it takes.
  EXPECT_LT(converted->a.size(0), 200);
}

TEST(ConversionTest, LokrBeyondTheRankKeepsTheLargestPart) {
  RawParts parts;
  parts[AdapterPart::kLokrW1] = Fading(30, 32, 0.1, 5);
  parts[AdapterPart::kLokrW2] = Fading(20, 20, 0.1, 6);
  const AdaptedModule adapted = Served(512, /*is_exact=*/false);
  const auto converted =
      ConvertModule(kModule, adapted, {.kind = AdapterKind::kLokr}, parts, {});
  ASSERT_THAT(converted, IsOk());
  ExpectKeeps(*converted,
              at::kron(parts[AdapterPart::kLokrW1].to(at::kDouble),
                       parts[AdapterPart::kLokrW2].to(at::kDouble)));
}

at::Tensor FourierUpdate(const at::Tensor& spectrum, uint64_t seed) {
  const at::Tensor places =
      at::randperm(600 * 640, at::detail::createCPUGenerator(seed), at::kLong)
          .narrow(0, 0, spectrum.size(0));
  at::Tensor dense = at::zeros({600 * 640}, at::kDouble);
  dense.index_put_({places}, spectrum.to(at::kDouble));
  return at::real(at::fft_ifft2(dense.view({600, 640})));
}

// Both forms of the transform: few frequencies as cosines and sines, many by
// the dense transform.
TEST(ConversionTest, FourierFtIsTheInverseTransform) {
  for (const int64_t n : {100, 280, 400}) {
    RawParts parts;
    parts[AdapterPart::kSpectrum] = Fading(1, n, 0.02, 7).view({n});
    const AdaptedModule adapted =
        Served(std::min<int64_t>(2 * n, 512), 2 * n <= 512);
    const auto converted = ConvertModule(
        kModule, adapted,
        {.kind = AdapterKind::kFourierFt, .location_seed = 777}, parts, {});
    ASSERT_THAT(converted, IsOk());
    ExpectKeeps(*converted, FourierUpdate(parts[AdapterPart::kSpectrum], 777));
  }
}

TEST(ConversionTest, AnUpdateThatNoLowRankHoldsIsRefused) {
  RawParts parts;
  // 600 singular values of one size; 512 ranks hold 85 %.
  parts[AdapterPart::kLokrW1] = at::eye(30, at::kFloat);
  parts[AdapterPart::kLokrW2] = at::eye(20, at::kFloat);
  const AdaptedModule adapted = Served(512, /*is_exact=*/false);
  const BaseModule square = {"model.layers.0.self_attn.q_proj", 600, 600};
  EXPECT_THAT(
      ConvertModule(square, adapted, {.kind = AdapterKind::kLokr}, parts, {}),
      StatusIs(absl::StatusCode::kUnimplemented,
               AllOf(HasSubstr("q_proj"), HasSubstr("85.3"), HasSubstr("LOKR"),
                     HasSubstr("merge_and_unload"))));
}

TEST(DoraTest, GainIsMagnitudeOverTheNormOfEachMergedRow) {
  const auto random = [](int64_t rows, int64_t columns, uint64_t seed) {
    return at::randn({rows, columns}, at::detail::createCPUGenerator(seed),
                     at::kFloat);
  };
  // More rows than are read at a time; transposed as GPT-2's.
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor weight = random(33, 150, 1).to(dtype).t();
    const at::Tensor a = random(5, 33, 2);
    const at::Tensor b = random(150, 5, 3);
    const at::Tensor m = random(1, 150, 4).view({150});
    const at::Tensor merged = weight.to(at::kDouble) +
                              0.7 * b.to(at::kDouble).matmul(a.to(at::kDouble));
    const at::Tensor expected = m / merged.square().sum(1).sqrt();
    EXPECT_LE(
        (DoraGain(weight, a, b, 0.7, m) - expected).abs().max().item<double>(),
        1e-6);
  }
}

}  // namespace
}  // namespace stockpot
