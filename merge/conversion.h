// Turns what an adapter of any kind stores for one module into low-rank
// factors.
//
// Pure functions, computed in float64 on the CPU, the same for equal bytes on
// one machine; not thread-safe with respect to one RawParts. They throw
// c10::Error.

#ifndef STOCKPOT_MERGE_CONVERSION_H_
#define STOCKPOT_MERGE_CONVERSION_H_

#include <array>

#include "absl/status/statusor.h"
#include <ATen/core/Tensor.h>

#include "formats/adapter_kind.h"
#include "formats/adapter_kind_options.h"
#include "formats/adapter_layout.h"

namespace stockpot {

// The share of an update's energy (its squared singular values) that a
// conversion keeps if it must leave some out, and the least that is served.
inline constexpr double kConversionEnergy = 0.999;
inline constexpr double kMinKeptEnergy = 0.9;

// The tensors of one module as the file has them, float32 on the CPU.
class RawParts {
 public:
  at::Tensor& operator[](AdapterPart part) {
    return tensors_[static_cast<size_t>(part)];
  }
  const at::Tensor& operator[](AdapterPart part) const {
    return tensors_[static_cast<size_t>(part)];
  }
  bool Has(AdapterPart part) const { return (*this)[part].defined(); }

 private:
  std::array<at::Tensor, kNumAdapterParts> tensors_;
};

// VeRA's shared projections, float32; undefined for other kinds.
struct SharedParts {
  at::Tensor vera_a;  // [rank, >= in]
  at::Tensor vera_b;  // [>= out, rank]
};

// The update dW = scale * b a of one module, without its scale.
struct ConvertedModule {
  at::Tensor a;            // [rank, in] float32
  at::Tensor b;            // [out, rank] float32
  double kept_energy = 1;  // Share of the update's; 1: nothing was left out.
};

// Converts the tensors of one module of the kind in `options`.
//
// If `adapted.is_exact`, the factors hold the whole update. Otherwise they have
// the smallest rank that keeps kConversionEnergy, at most adapted.rank.
// REQUIRES: `adapted` comes from MatchAdapter() for the file of these tensors;
// its kind is not IA3.
// Errors: Unimplemented when that rank keeps less than kMinKeptEnergy.
absl::StatusOr<ConvertedModule> ConvertModule(const BaseModule& module,
                                              const AdaptedModule& adapted,
                                              const AdapterKindOptions& options,
                                              const RawParts& parts,
                                              const SharedParts& shared);

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_CONVERSION_H_
