#include "merge/conversion.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/fft_ifft2.h>
#include <ATen/ops/kron.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/randperm.h>
#include <ATen/ops/real.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/zeros.h>

#include "formats/quoted.h"

namespace stockpot {

namespace {

constexpr double kTwoPi = 6.283185307179586476925;

// An update [out, in] = b a in float64.
struct Product {
  at::Tensor b;  // [out, rank]
  at::Tensor a;  // [rank, in]
};

ConvertedModule Exactly(const Product& p) {
  ConvertedModule converted;
  converted.a = p.a.to(at::kFloat);
  converted.b = p.b.to(at::kFloat);
  return converted;
}

// How many of the singular values `s`, largest first, to keep: all of `rank`
// if `is_exact`, else as few of them as keep kConversionEnergy.
int64_t NumKept(const at::Tensor& s, int64_t rank, bool is_exact) {
  const at::Tensor squares = s.square();
  const double wanted = kConversionEnergy * squares.sum().item<double>();
  const double* value = squares.const_data_ptr<double>();
  int64_t kept = 0;
  double sum = 0;
  while (kept < rank && (is_exact || sum < wanted)) {
    sum += value[kept++];
  }
  return std::max<int64_t>(kept, 1);
}

// The share of the energy of `s` that its first `kept` values have.
double ShareOf(const at::Tensor& s, int64_t kept) {
  const at::Tensor squares = s.square();
  const double all = squares.sum().item<double>();
  return all > 0 ? squares.narrow(0, 0, kept).sum().item<double>() / all : 1;
}

// u diag(s) vh cut to the rank that `adapted` allows; singular values largest
// first.
ConvertedModule Truncate(const at::Tensor& u, const at::Tensor& s,
                         const at::Tensor& vh, const AdaptedModule& adapted) {
  const int64_t rank = std::min(adapted.rank, s.size(0));
  const int64_t kept = NumKept(s, rank, adapted.is_exact);
  // Half of each singular value on either side, so that neither loses digits
  // in bfloat16's range.
  const at::Tensor root = s.narrow(0, 0, kept).sqrt();
  ConvertedModule converted = Exactly(
      {u.narrow(1, 0, kept) * root, root.unsqueeze(1) * vh.narrow(0, 0, kept)});
  if (!adapted.is_exact) {
    converted.kept_energy = ShareOf(s, kept);
  }
  return converted;
}

ConvertedModule FromDense(const at::Tensor& update,
                          const AdaptedModule& adapted) {
  const auto [u, s, vh] = at::linalg_svd(update, /*full_matrices=*/false);
  return Truncate(u, s, vh, adapted);
}

// As FromDense(b a), by the triangular parts of the factors.
ConvertedModule FromWide(const Product& p, const AdaptedModule& adapted) {
  const auto [qb, rb] = at::linalg_qr(p.b);
  const auto [qa, ra] = at::linalg_qr(p.a.t());
  const auto [u, s, vh] = at::linalg_svd(rb.matmul(ra.t()),
                                         /*full_matrices=*/false);
  return Truncate(qb.matmul(u), s, vh.matmul(qa.t()), adapted);
}

at::Tensor Double(const at::Tensor& t) { return t.to(at::kDouble); }

// dW = (w1a w1b) o (w2a w2b): the products of all pairs of columns.
ConvertedModule ConvertLoha(const BaseModule& module,
                            const AdaptedModule& adapted,
                            const RawParts& parts) {
  const at::Tensor w1a = Double(parts[AdapterPart::kHadaW1A]);  // [out, r]
  const at::Tensor w1b = Double(parts[AdapterPart::kHadaW1B]);  // [r, in]
  const at::Tensor w2a = Double(parts[AdapterPart::kHadaW2A]);
  const at::Tensor w2b = Double(parts[AdapterPart::kHadaW2B]);
  const int64_t wide = w1b.size(0) * w2b.size(0);
  if (wide > adapted.rank && wide > std::min(module.in, module.out)) {
    return FromDense(w1a.matmul(w1b) * w2a.matmul(w2b), adapted);
  }
  const Product product{
      (w1a.unsqueeze(2) * w2a.unsqueeze(1)).reshape({module.out, wide}),
      (w1b.unsqueeze(1) * w2b.unsqueeze(0)).reshape({wide, module.in})};
  return wide <= adapted.rank ? Exactly(product) : FromWide(product, adapted);
}

// One side of LoKr's product as factors of the smallest rank that needs no
// decomposition.
Product KronSide(const RawParts& parts, AdapterPart whole, AdapterPart a,
                 AdapterPart b) {
  at::Tensor dense;
  if (parts.Has(whole)) {
    dense = Double(parts[whole]);
  } else {
    const at::Tensor left = Double(parts[a]);
    const at::Tensor right = Double(parts[b]);
    if (left.size(1) <= std::min(left.size(0), right.size(1))) {
      return {left, right};
    }
    dense = left.matmul(right);
  }
  const auto options = dense.options();
  return dense.size(0) < dense.size(1)
             ? Product{at::eye(dense.size(0), options), dense}
             : Product{dense, at::eye(dense.size(1), options)};
}

// dW = kron(w1, w2), and kron(b1 a1, b2 a2) = kron(b1, b2) kron(a1, a2).
ConvertedModule ConvertLokr(const AdaptedModule& adapted,
                            const RawParts& parts) {
  const Product left = KronSide(parts, AdapterPart::kLokrW1,
                                AdapterPart::kLokrW1A, AdapterPart::kLokrW1B);
  const Product right = KronSide(parts, AdapterPart::kLokrW2,
                                 AdapterPart::kLokrW2A, AdapterPart::kLokrW2B);
  if (adapted.is_exact) {
    return Exactly({at::kron(left.b, right.b), at::kron(left.a, right.a)});
  }
  const auto [u1, s1, vh1] = at::linalg_svd(left.b.matmul(left.a), false);
  const auto [u2, s2, vh2] = at::linalg_svd(right.b.matmul(right.a), false);
  const auto [s, order] = at::outer(s1, s2).flatten().sort(
      /*stable=*/true, /*dim=*/0, /*descending=*/true);
  const int64_t kept = NumKept(s, adapted.rank, /*is_exact=*/false);
  const at::Tensor top = order.narrow(0, 0, kept);
  const at::Tensor i = top.floor_divide(s2.size(0));
  const at::Tensor j = top.remainder(s2.size(0));
  const at::Tensor root = s.narrow(0, 0, kept).sqrt();
  // Column k of b is kron(u1_i, u2_j), row k of a kron(vh1_i, vh2_j).
  const at::Tensor b =
      (u1.index_select(1, i).unsqueeze(1) * u2.index_select(1, j).unsqueeze(0))
          .reshape({-1, kept});
  const at::Tensor a = (vh1.index_select(0, i).unsqueeze(2) *
                        vh2.index_select(0, j).unsqueeze(1))
                           .reshape({kept, -1});
  ConvertedModule converted = Exactly({b * root, root.unsqueeze(1) * a});
  converted.kept_energy = ShareOf(s, kept);
  return converted;
}

// dW = Re(ifft2(F)), where F holds the spectrum at PEFT's random places.
ConvertedModule ConvertFourierFt(const BaseModule& module,
                                 const AdaptedModule& adapted,
                                 const AdapterKindOptions& options,
                                 const RawParts& parts) {
  const at::Tensor spectrum = Double(parts[AdapterPart::kSpectrum]);
  const int64_t n = spectrum.size(0);
  // As torch.randperm with torch.Generator().manual_seed(seed).
  const at::Tensor places =
      at::randperm(module.out * module.in,
                   at::detail::createCPUGenerator(options.location_seed),
                   at::kLong)
          .narrow(0, 0, n);
  const at::Tensor row = places.floor_divide(module.in);
  const at::Tensor column = places.remainder(module.in);
  if (2 * n > std::min(module.in, module.out)) {
    at::Tensor dense = at::zeros({module.out, module.in}, at::kDouble);
    dense.index_put_({row, column}, spectrum);
    return FromDense(at::real(at::fft_ifft2(dense)).contiguous(), adapted);
  }
  // cos(p + q) = cos p cos q - sin p sin q.
  const at::Tensor p =
      at::outer(at::arange(module.out, at::kDouble), row.to(at::kDouble)) *
      (kTwoPi / static_cast<double>(module.out));
  const at::Tensor q =
      at::outer(column.to(at::kDouble), at::arange(module.in, at::kDouble)) *
      (kTwoPi / static_cast<double>(module.in));
  const at::Tensor strength =
      spectrum / static_cast<double>(module.out * module.in);
  const Product product{at::cat({p.cos() * strength, p.sin() * -strength}, 1),
                        at::cat({q.cos(), q.sin()}, 0)};
  return 2 * n <= adapted.rank ? Exactly(product) : FromWide(product, adapted);
}

// Input j is added into sum j mod r, which the block multiplies.
ConvertedModule ConvertMiss(const BaseModule& module,
                            const AdaptedModule& adapted,
                            const AdapterKindOptions& options,
                            const RawParts& parts) {
  at::Tensor block = parts[AdapterPart::kMissBlock];  // [r, out or mini_r]
  if (options.mini_r > 0) {
    block = block.repeat({1, module.out / options.mini_r});
  }
  const int64_t r = adapted.rank;
  ConvertedModule converted;
  converted.a = at::eye(r, at::kFloat)
                    .repeat({1, (module.in + r - 1) / r})
                    .narrow(1, 0, module.in);
  converted.b = block.t();
  return converted;
}

ConvertedModule Convert(const BaseModule& module, const AdaptedModule& adapted,
                        const AdapterKindOptions& options,
                        const RawParts& parts, const SharedParts& shared) {
  ConvertedModule converted;
  switch (options.kind) {
    case AdapterKind::kLora:
      converted.a = parts[AdapterPart::kLoraA];
      converted.b = parts[AdapterPart::kLoraB];
      return converted;
    case AdapterKind::kAdaLora:
      converted.a = parts[AdapterPart::kLoraA] * parts[AdapterPart::kLoraE];
      converted.b = parts[AdapterPart::kLoraB];
      return converted;
    case AdapterKind::kLoha:
      return ConvertLoha(module, adapted, parts);
    case AdapterKind::kLokr:
      return ConvertLokr(adapted, parts);
    case AdapterKind::kVera:
      converted.a = shared.vera_a.narrow(1, 0, module.in) *
                    parts[AdapterPart::kVeraD].unsqueeze(1);
      converted.b = shared.vera_b.narrow(0, 0, module.out) *
                    parts[AdapterPart::kVeraB].unsqueeze(1);
      return converted;
    case AdapterKind::kFourierFt:
      return ConvertFourierFt(module, adapted, options, parts);
    case AdapterKind::kMiss:
      return ConvertMiss(module, adapted, options, parts);
    case AdapterKind::kIa3:
    case AdapterKind::kTrainableTokens:
      break;
  }
  TORCH_CHECK(false, "this kind has no factors");
}

}  // namespace

absl::StatusOr<ConvertedModule> ConvertModule(const BaseModule& module,
                                              const AdaptedModule& adapted,
                                              const AdapterKindOptions& options,
                                              const RawParts& parts,
                                              const SharedParts& shared) {
  ConvertedModule converted = Convert(module, adapted, options, parts, shared);
  if (converted.kept_energy < kMinKeptEnergy) {
    return absl::UnimplementedError(absl::StrCat(
        "module ", Quoted(module.path), ": factors of rank ", adapted.rank,
        " keep only ", 100 * converted.kept_energy, " % of this ",
        PeftTypeName(options.kind), " update, at least ", 100 * kMinKeptEnergy,
        " % is asked; serve the base model that PEFT's merge_and_unload() "
        "makes of it"));
  }
  return converted;
}

}  // namespace stockpot
