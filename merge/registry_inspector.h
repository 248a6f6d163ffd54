// RegistryInspector inspects adapters of the registry, module by module.

#ifndef STOCKPOT_MERGE_REGISTRY_INSPECTOR_H_
#define STOCKPOT_MERGE_REGISTRY_INSPECTOR_H_

#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "base/digest.h"
#include "formats/adapter_layout.h"
#include "merge/adapter_inspector.h"
#include "registry/adapter_store.h"

namespace stockpot {

// Thread-safe. Holds the tensors of one module in float32 and what converting
// and decomposing them takes, three times as much for plain factors; of VeRA
// the shared projections beside them.
class RegistryInspector final : public AdapterInspector {
 public:
  // `modules` are the base model's. Both must outlive the inspector.
  RegistryInspector(AdapterStore* store, absl::Span<const BaseModule> modules)
      : store_(store), modules_(modules) {}

  absl::StatusOr<std::vector<ModuleStatistics>> Inspect(
      const Digest& digest, const std::function<bool()>& stop) override;

 private:
  AdapterStore* const store_;
  const absl::Span<const BaseModule> modules_;
};

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_REGISTRY_INSPECTOR_H_
