#include "merge/stored_tensors.h"

#include <cstdint>
#include <string>

#include "absl/types/span.h"
#include <ATen/ops/empty.h>

#include "base/status_macros.h"

namespace stockpot {

at::ScalarType TorchType(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF16:
      return at::kHalf;
    case Dtype::kBF16:
      return at::kBFloat16;
    default:
      return at::kFloat;
  }
}

absl::StatusOr<SafetensorsHeader> ReadAdapterHeader(BlobReader* blob) {
  char prefix[8];
  RETURN_IF_ERROR(blob->ReadAt(0, absl::MakeSpan(prefix)));
  ASSIGN_OR_RETURN(
      const uint64_t header_bytes,
      SafetensorsHeaderBytes(absl::string_view(prefix, sizeof(prefix)),
                             blob->size_bytes(), AdapterLimits()));
  std::string head(header_bytes, '\0');
  RETURN_IF_ERROR(blob->ReadAt(0, absl::MakeSpan(head)));
  return ParseSafetensorsHeader(head, blob->size_bytes(), AdapterLimits());
}

absl::StatusOr<at::Tensor> ReadStoredTensor(const SafetensorsHeader& header,
                                            const TensorInfo& info,
                                            BlobReader* blob) {
  const at::Tensor raw = at::empty(info.shape, TorchType(info.dtype));
  if (raw.numel() > 0) {
    RETURN_IF_ERROR(
        blob->ReadAt(header.data_offset + info.begin,
                     absl::MakeSpan(static_cast<char*>(raw.data_ptr()),
                                    static_cast<size_t>(info.num_bytes()))));
  }
  return raw.to(at::kFloat);
}

}  // namespace stockpot
