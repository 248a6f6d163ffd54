// An Adapter is one skill decoded for use against the base model.
//
// Immutable, so it is shared between threads without locks. The factors are
// opaque here: only merge/skill_pool.cc and the code that loads them look
// inside, so that composing and caching need no torch.

#ifndef STOCKPOT_MERGE_ADAPTER_H_
#define STOCKPOT_MERGE_ADAPTER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"

#include "base/digest.h"

namespace stockpot {

struct AdapterFactors;  // merge/adapter_factors.h

struct Adapter {
  Digest digest;
  // [modules]: alpha / rank, or alpha / sqrt(rank) with rsLoRA
  // (arXiv:2312.03732), of each module; 0 where the adapter has none.
  std::vector<float> scales;
  std::vector<int32_t> ranks;  // [modules]; 0 where the adapter has none.
  std::shared_ptr<const AdapterFactors> factors;
  int64_t bytes = 0;  // Memory that the factors hold.
};

// Where adapters come from: the registry, or a fake.
class AdapterSource {
 public:
  virtual ~AdapterSource() = default;

  // Bytes that Load() would take, known without reading the weights.
  // Errors: NotFound, DataLoss.
  virtual absl::StatusOr<int64_t> ResidentBytes(const Digest& digest) = 0;

  // Reads and decodes an adapter. Blocks on storage. Thread-safe.
  // Errors: NotFound; DataLoss (stored bytes are damaged); InvalidArgument (it
  // does not fit this base model); ResourceExhausted (memory).
  virtual absl::StatusOr<std::shared_ptr<const Adapter>> Load(
      const Digest& digest) = 0;
};

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_ADAPTER_H_
