// Tensors of an adapter as the registry's blob holds them.

#ifndef STOCKPOT_MERGE_STORED_TENSORS_H_
#define STOCKPOT_MERGE_STORED_TENSORS_H_

#include "absl/status/statusor.h"
#include <ATen/core/Tensor.h>

#include "formats/safetensors.h"
#include "registry/adapter_store.h"

namespace stockpot {

// Of the dtypes that MatchAdapter() lets pass: F32, F16, BF16.
at::ScalarType TorchType(Dtype dtype);

// Leaves Next() where it is. Errors: those of BlobReader::ReadAt() and
// ParseSafetensorsHeader().
absl::StatusOr<SafetensorsHeader> ReadAdapterHeader(BlobReader* blob);

// The tensor `info` of `header`, float32 on the CPU. Reads no other bytes but
// the rest of its chunks. Throws c10::Error. Errors: those of ReadAt().
absl::StatusOr<at::Tensor> ReadStoredTensor(const SafetensorsHeader& header,
                                            const TensorInfo& info,
                                            BlobReader* blob);

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_STORED_TENSORS_H_
