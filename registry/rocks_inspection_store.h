// The InspectionStore of a RocksStore: in the same database, at `i/<digest>`.

#ifndef STOCKPOT_REGISTRY_ROCKS_INSPECTION_STORE_H_
#define STOCKPOT_REGISTRY_ROCKS_INSPECTION_STORE_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/digest.h"
#include "registry/inspection_store.h"
#include "registry/store_context.h"

namespace stockpot {

class RocksInspectionStore final : public InspectionStore {
 public:
  // `context` must outlive the store.
  explicit RocksInspectionStore(StoreContext* context) : context_(context) {}

  absl::StatusOr<std::optional<std::string>> Find(
      const Digest& digest) override;
  absl::Status Put(const Digest& digest, absl::string_view inspection) override
      ABSL_LOCKS_EXCLUDED(context_->commit_mu);

 private:
  StoreContext* const context_;
};

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_ROCKS_INSPECTION_STORE_H_
