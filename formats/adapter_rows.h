// The tensors of an adapter that stand for rows of the base model's embedding
// or head themselves, not for an update of them.

#ifndef STOCKPOT_FORMATS_ADAPTER_ROWS_H_
#define STOCKPOT_FORMATS_ADAPTER_ROWS_H_

#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "formats/adapter_config.h"
#include "formats/adapter_kind.h"
#include "formats/adapter_layout.h"
#include "formats/safetensors.h"

namespace stockpot {

// Tensors of one module, indices into SafetensorsHeader::tensors.
struct EndTensors {
  // ".token_adapter.trainable_tokens_delta"; of TRAINABLE_TOKENS without
  // ".token_adapter".
  size_t tokens = kNoTensor;
  size_t weight = kNoTensor;      // ".weight"
  size_t base_layer = kNoTensor;  // ".base_layer.weight"
};

// Notes tensor `index` in ends[m] and returns true if its name is such a tensor
// of base[m], an embedding or a head, in an adapter of `kind`. `ends` has an
// entry per base module.
// Errors: InvalidArgument if the file holds the same tensor twice.
absl::StatusOr<bool> TakeEndTensor(const SafetensorsHeader& header,
                                   size_t index, AdapterKind kind,
                                   absl::Span<const BaseModule> base,
                                   std::vector<EndTensors>* ends);

// Whether `config` gives base[module] a whole weight of its own, whose tensor
// is then in the file: by modules_to_save, or tied to an embedding that is.
bool IsReplacedWhole(const AdapterConfig& config,
                     absl::Span<const BaseModule> base,
                     const std::vector<EndTensors>& ends, size_t module);

// Whether the file, not target_modules, says if the head `module` is adapted.
bool FollowsEmbedding(const AdapterConfig& config, const BaseModule& module);

// Sets replaced, base_copies and rows_copies of `layout`, in the order of the
// base modules.
//
// Errors: InvalidArgument, which names the tensor or field: a tensor or its
// partner in the config missing, a wrong size, a token that the base model has
// not, a module whose rows are replaced and which is adapted as well.
absl::Status MatchRows(const SafetensorsHeader& header,
                       const AdapterConfig& config,
                       absl::Span<const BaseModule> base,
                       const std::vector<EndTensors>& ends,
                       AdapterLayout* layout);

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_ADAPTER_ROWS_H_
