#include "merge/methods/inspect.h"

#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_svdvals.h>
#include <ATen/ops/linalg_vector_norm.h>

#include "merge/methods/decompositions.h"
#include "merge/methods/svd.h"

namespace stockpot {
namespace {

// Fills what follows from the singular values, by falling size.
void FillSpectrum(const at::Tensor& sigma, UpdateStatistics* statistics) {
  const at::Tensor values = sigma.contiguous();  // [k] float64
  const double* s = values.const_data_ptr<double>();
  const int64_t k = values.numel();
  double sum = 0;
  double energy = 0;
  for (int64_t i = 0; i < k; ++i) {
    sum += s[i];
    energy += s[i] * s[i];
  }
  if (energy == 0) return;
  double entropy = 0;
  double head = 0;
  for (int64_t i = 0; i < k; ++i) {
    const double share = s[i] / sum;
    entropy -= share > 0 ? share * std::log(share) : 0;
    if (head < 0.9 * energy) ++statistics->k90;
    head += s[i] * s[i];
  }
  statistics->frobenius_norm = std::sqrt(energy);
  statistics->spectral_norm = s[0];
  statistics->stable_rank = energy / (s[0] * s[0]);
  statistics->effective_rank = std::exp(entropy);
}

// Orthonormal columns that span those of `x`, without negligible directions.
at::Tensor SpanOf(const at::Tensor& x) {  // [rows, columns]
  const ThinQr qr(x);
  const Triplets triplets = LeadingTriplets(qr.r(), kAllRanks);
  const double largest = triplets.s.max().item<double>();
  return qr.Times(Above(triplets, kNegligible * largest).u);
}

double Overlap(const at::Tensor& x, const at::Tensor& y) {
  const at::Tensor qx = SpanOf(x);
  const at::Tensor qy = SpanOf(y);
  const int64_t rank = std::min(qx.size(1), qy.size(1));
  if (rank == 0) return 0;
  const double norm = at::linalg_vector_norm(qx.t().matmul(qy)).item<double>();
  return std::min(1.0, norm * norm / static_cast<double>(rank));
}

}  // namespace

UpdateStatistics Inspect(const LowRank& update, double scale) {
  UpdateStatistics statistics;
  statistics.rank = update.a.size(0);
  statistics.b_is_zero = !update.b.any().item<bool>();
  const at::Tensor units =  // [rank]
      at::linalg_vector_norm(update.a, 2, at::IntArrayRef({1}))
          .to(at::kDouble) *
      at::linalg_vector_norm(update.b, 2, at::IntArrayRef({0})).to(at::kDouble);
  statistics.dead_ranks =
      (units <= kNegligible * units.max()).sum().item<int64_t>();
  const at::Tensor core =
      ThinQr(update.b).r().matmul(ThinQr(update.a.t()).r().t()) * scale;
  FillSpectrum(at::linalg_svdvals(core), &statistics);
  return statistics;
}

PairStatistics Compare(const LowRank& x, const LowRank& y) {
  PairStatistics statistics;
  const double norms = FrobeniusNorm(x) * FrobeniusNorm(y);
  if (norms > 0) {
    // <b a, d c> = sum of (b^T d) * (a c^T), entry by entry.
    const at::Tensor b = x.b.t().matmul(y.b).to(at::kDouble);
    const at::Tensor a = x.a.matmul(y.a.t()).to(at::kDouble);
    statistics.cosine =
        std::clamp((b * a).sum().item<double>() / norms, -1.0, 1.0);
  }
  statistics.output_overlap = Overlap(x.b, y.b);
  statistics.input_overlap = Overlap(x.a.t(), y.a.t());
  return statistics;
}

}  // namespace stockpot
