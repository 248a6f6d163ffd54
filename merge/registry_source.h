// RegistrySource decodes adapters out of the registry for the base model.

#ifndef STOCKPOT_MERGE_REGISTRY_SOURCE_H_
#define STOCKPOT_MERGE_REGISTRY_SOURCE_H_

#include <memory>

#include "merge/adapter.h"
#include "model/base_model.h"
#include "registry/adapter_store.h"

namespace stockpot {

// Thread-safe. Beside what it returns, it holds at most one tensor of a plain
// LoRA in the file's dtype, and of other kinds the file in float32 and what
// converting one module takes (docs/adapters.md).
class RegistrySource : public AdapterSource {
 public:
  // Both must outlive the source.
  RegistrySource(AdapterStore* store, const BaseModel* model)
      : store_(store), model_(model) {}

  absl::StatusOr<int64_t> ResidentBytes(const Digest& digest) override;
  absl::StatusOr<std::shared_ptr<const Adapter>> Load(
      const Digest& digest) override;

 private:
  AdapterStore* const store_;
  const BaseModel* const model_;
};

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_REGISTRY_SOURCE_H_
