// A RecipeExporter writes a composition as a plain PEFT LoRA adapter, which any
// other server loads. No torch.

#ifndef STOCKPOT_MERGE_RECIPE_EXPORTER_H_
#define STOCKPOT_MERGE_RECIPE_EXPORTER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

#include "base/digest.h"
#include "merge/composition.h"

namespace stockpot {

// One adapter being written; holds one tensor of it at a time. Not thread-safe.
class AdapterExport {
 public:
  virtual ~AdapterExport() = default;

  virtual const std::string& adapter_config() const = 0;
  // Of the safetensors file.
  virtual uint64_t size_bytes() const = 0;
  virtual const Digest& sha256() const = 0;

  // Sets `chunk` to the file's next bytes, at most 1 MiB, and returns true;
  // returns false after the last. Errors: ResourceExhausted (memory), Internal.
  virtual absl::StatusOr<bool> Next(std::string* chunk) = 0;
};

class RecipeExporter {
 public:
  virtual ~RecipeExporter() = default;

  // Starts an export; makes every tensor once to learn the file's hash.
  // Thread-safe. The composition is held until the export is destroyed.
  // Errors: FailedPrecondition (nothing to write: the recipe adds nothing; or
  // what PEFT has no form for, in words);
  // ResourceExhausted (memory), Internal.
  virtual absl::StatusOr<std::unique_ptr<AdapterExport>> Export(
      std::shared_ptr<const Composition> composition) = 0;
};

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_RECIPE_EXPORTER_H_
