// An InspectionStore keeps, beside each stored blob, what was computed of its
// weights. The bytes are opaque here.
//
// They are derived: whoever finds none computes them again. So they are written
// without waiting for the disk, and what cannot be read counts as absent. They
// go with their blob. All methods are safe to call from many threads; they may
// touch the disk and block.

#ifndef STOCKPOT_REGISTRY_INSPECTION_STORE_H_
#define STOCKPOT_REGISTRY_INSPECTION_STORE_H_

#include <cstddef>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/digest.h"

namespace stockpot {

// A module of a large model takes some 100 bytes, and an adapter has at most
// 4096 of them.
inline constexpr size_t kMaxInspectionBytes = size_t{2} << 20;

class InspectionStore {
 public:
  virtual ~InspectionStore() = default;

  // What was put for `digest` last; nullopt if that is nothing, or damaged.
  // Errors: Unavailable.
  virtual absl::StatusOr<std::optional<std::string>> Find(
      const Digest& digest) = 0;

  // Keeps `inspection` for as long as the blob `digest` is stored; a crash may
  // lose it. Errors: InvalidArgument (more than kMaxInspectionBytes); NotFound
  // (no such blob); ResourceExhausted, Unavailable (disk).
  virtual absl::Status Put(const Digest& digest,
                           absl::string_view inspection) = 0;
};

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_INSPECTION_STORE_H_
