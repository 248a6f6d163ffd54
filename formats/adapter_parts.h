// Checks the tensors of one adapted layer against each other, against the layer
// and against the config, by kind.

#ifndef STOCKPOT_FORMATS_ADAPTER_PARTS_H_
#define STOCKPOT_FORMATS_ADAPTER_PARTS_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "formats/adapter_config.h"
#include "formats/adapter_kind.h"
#include "formats/adapter_layout.h"
#include "formats/safetensors.h"

namespace stockpot {

// Borrows what it is made with. Not thread-safe.
class PartChecker {
 public:
  // `shared` says where VeRA's projections are; nothing else of it is read.
  PartChecker(const SafetensorsHeader& header, const AdapterConfig& config,
              const AdapterLayout& shared)
      : header_(header), config_(config), shared_(shared) {}

  // Returns the module without its index.
  // Errors: InvalidArgument, which names the tensor; Unimplemented for an
  // update that cannot be converted, or served on this layer.
  absl::StatusOr<AdaptedModule> Check(const BaseModule& module,
                                      const AdapterParts& parts);

  // Errors: Unimplemented when converting all modules together would take too
  // long.
  absl::Status Finish() const;

 private:
  const TensorInfo& Tensor(const AdapterParts& parts, AdapterPart part) const {
    return header_.tensors[parts[part]];
  }
  absl::Status Require(const AdapterParts& parts, AdapterPart part) const;
  absl::Status CheckShape(const TensorInfo& tensor,
                          const std::vector<int64_t>& expected,
                          const char* why) const;
  absl::Status CheckScale(const BaseModule& module, int64_t rank,
                          AdaptedModule* adapted) const;

  absl::Status CheckLora(const BaseModule& module, AdaptedModule* adapted);
  absl::Status CheckLoraExtras(const BaseModule& module,
                               AdaptedModule* adapted) const;
  absl::Status CheckLoha(const BaseModule& module, AdaptedModule* adapted);
  absl::Status CheckLokr(const BaseModule& module, AdaptedModule* adapted);
  absl::Status CheckVera(const BaseModule& module, AdaptedModule* adapted);
  absl::Status CheckFourierFt(const BaseModule& module, AdaptedModule* adapted);
  absl::Status CheckMiss(const BaseModule& module, AdaptedModule* adapted);
  absl::Status CheckIa3(const BaseModule& module, AdaptedModule* adapted);

  // One side of LoKr's product: (rows, columns), and the largest rank.
  struct KronSide {
    int64_t rows = 0;
    int64_t columns = 0;
    int64_t rank = 0;
  };
  absl::StatusOr<KronSide> CheckKronSide(const AdapterParts& parts,
                                         AdapterPart whole, AdapterPart a,
                                         AdapterPart b) const;

  // Sets what follows from an update that is a product of `wide` inner columns
  // before it is made smaller.
  absl::Status SetConverted(const BaseModule& module, int64_t wide,
                            AdaptedModule* adapted);

  // Errors: Unimplemented for more values than a conversion may hold.
  absl::Status CheckElements(const BaseModule& module, double elements) const;

  const SafetensorsHeader& header_;
  const AdapterConfig& config_;
  const AdapterLayout& shared_;
  double conversion_flops_ = 0;
};

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_ADAPTER_PARTS_H_
