// An AdapterInspector says what the weights of a stored adapter tell by
// themselves: how strong each module's update is, and how many of its ranks do
// anything. No torch.

#ifndef STOCKPOT_MERGE_ADAPTER_INSPECTOR_H_
#define STOCKPOT_MERGE_ADAPTER_INSPECTOR_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "base/digest.h"
#include "merge/methods/update_statistics.h"

namespace stockpot {

struct ModuleStatistics {
  std::string module;  // Path in the base model.
  UpdateStatistics update;
};

class AdapterInspector {
 public:
  virtual ~AdapterInspector() = default;

  // Of each module that has low-rank factors, by path, of the factors that are
  // served: those of the file, or what its kind is converted to. Of DoRA s B A,
  // whose rows a gain then scales. Modules that only scale (IA3) and those
  // without ranks (pruned by AdaLoRA) are left out.
  //
  // Thread-safe; blocks on storage. Asks `stop` between modules, and ends when
  // it says so. Errors: Cancelled (`stop`); NotFound; DataLoss; Unavailable;
  // InvalidArgument (it does not fit this base model), ResourceExhausted
  // (memory), Internal (libtorch: values beyond float32's range).
  virtual absl::StatusOr<std::vector<ModuleStatistics>> Inspect(
      const Digest& digest, const std::function<bool()>& stop) = 0;
};

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_ADAPTER_INSPECTOR_H_
