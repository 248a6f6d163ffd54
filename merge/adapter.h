// An Adapter is one skill decoded for use against the base model.
//
// Immutable, so it is shared between threads without locks. The factors are
// opaque here: only merge/skill_pool.cc and the code that loads them look
// inside, so that composing and caching need no torch.

#ifndef STOCKPOT_MERGE_ADAPTER_H_
#define STOCKPOT_MERGE_ADAPTER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "base/digest.h"

namespace stockpot {

struct AdapterFactors;  // merge/adapter_factors.h

// Tokens whose rows of one module, the embedding or the head, an adapter
// replaces.
struct ReplacedTokens {
  size_t module = 0;
  std::vector<int64_t> tokens;  // Ascending; empty: all.
};

struct Adapter {
  Digest digest;
  // [modules]: what multiplies b^T a of each module, for LoRA alpha / rank, or
  // alpha / sqrt(rank) with rsLoRA (arXiv:2312.03732); 1 where the adapter
  // replaces rows; 0 where it has no part.
  std::vector<float> scales;
  std::vector<int32_t> ranks;  // [modules]; 0 where the adapter has none.
  // Why the adapter cannot be scaled or mixed with others, for a client to
  // read; empty if it can.
  std::string alone_because;
  // It also adds a bias (lora_bias), which only the method cat combines.
  bool has_bias = false;
  // Some ModuleFactors have more than `a` and `b`.
  bool has_row_terms = false;
  // It puts rows of its own in place of the base model's, which only the method
  // cat allows, at weight 1. By module, none of which has a rank.
  std::vector<ReplacedTokens> replaced;
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
