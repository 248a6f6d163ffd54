// What a PEFT config says about one kind of adapter alone.

#ifndef STOCKPOT_FORMATS_ADAPTER_KIND_OPTIONS_H_
#define STOCKPOT_FORMATS_ADAPTER_KIND_OPTIONS_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "nlohmann/json_fwd.hpp"

#include "formats/adapter_kind.h"

namespace stockpot {

struct AdapterKindOptions {
  AdapterKind kind = AdapterKind::kLora;
  // LORA: y = W x + bias becomes (m / c) (W x + s B A x) + bias, where c is
  // the norm of each row of W + s B A.
  bool use_dora = false;
  // LORA: s times a bias is added beside s B A x.
  bool lora_bias = false;
  // FOURIERFT: what multiplies the inverse transform, and the seed of PEFT's
  // choice of frequencies.
  double spectrum_scaling = 1;
  uint64_t location_seed = 0;
  // MISS: the block is `mini_r` wide and repeats along the outputs; 0: it is as
  // wide as they are.
  int64_t mini_r = 0;
};

// Reads `root`, an object whose "peft_type" is served.
//
// Errors: InvalidArgument, which names the field; Unimplemented for a setting
// under which the file does not hold the whole update (VeRA without its
// projections) or the update depends on the base weights (MiSS "bat").
absl::StatusOr<AdapterKindOptions> ReadKindOptions(
    const nlohmann::ordered_json& root);

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_ADAPTER_KIND_OPTIONS_H_
