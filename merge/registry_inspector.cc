#include "merge/registry_inspector.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>

#include "absl/status/status.h"

#include "base/status_macros.h"
#include "formats/adapter_config.h"
#include "formats/adapter_kind.h"
#include "formats/safetensors.h"
#include "merge/conversion.h"
#include "merge/methods/inspect.h"
#include "merge/stored_tensors.h"
#include "model/torch_status.h"
#include "model/torch_threads.h"

namespace stockpot {

namespace {

// Where the first tensor of a module lies in the file.
uint64_t StartOf(const AdaptedModule& adapted,
                 const SafetensorsHeader& header) {
  return header.tensors[adapted.parts.First()].begin;
}

// One adapter being read; see RegistryInspector for what it holds.
class Inspection {
 public:
  Inspection(const AdapterConfig& config, const SafetensorsHeader& header,
             absl::Span<const BaseModule> modules, BlobReader* blob)
      : config_(config), header_(header), modules_(modules), blob_(blob) {}

  absl::Status ReadShared(const AdapterLayout& layout) {
    if (layout.vera_a != kNoTensor && layout.vera_b != kNoTensor) {
      ASSIGN_OR_RETURN(shared_.vera_a, Read(layout.vera_a));
      ASSIGN_OR_RETURN(shared_.vera_b, Read(layout.vera_b));
    }
    return absl::OkStatus();
  }

  // Statistics of rank 0 if it has no ranks.
  absl::StatusOr<UpdateStatistics> Of(const AdaptedModule& adapted) {
    RawParts parts;
    for (size_t p = 0; p < kNumAdapterParts; ++p) {
      const auto part = static_cast<AdapterPart>(p);
      if (adapted.parts.Has(part) && part != AdapterPart::kSoupsLogit) {
        ASSIGN_OR_RETURN(parts[part], Read(adapted.parts[part]));
      }
    }
    ASSIGN_OR_RETURN(const ConvertedModule converted,
                     ConvertModule(modules_[adapted.module], adapted,
                                   config_.kind_options(), parts, shared_));
    if (converted.a.size(0) == 0) {
      return UpdateStatistics();
    }
    return stockpot::Inspect({converted.a, converted.b}, adapted.scale);
  }

 private:
  absl::StatusOr<at::Tensor> Read(size_t tensor) {
    return ReadStoredTensor(header_, header_.tensors[tensor], blob_);
  }

  const AdapterConfig& config_;
  const SafetensorsHeader& header_;
  const absl::Span<const BaseModule> modules_;
  BlobReader* const blob_;
  SharedParts shared_;
};

}  // namespace

absl::StatusOr<std::vector<ModuleStatistics>> RegistryInspector::Inspect(
    const Digest& digest, const std::function<bool()>& stop) {
  ASSIGN_OR_RETURN(const std::unique_ptr<BlobReader> blob,
                   store_->OpenBlob(digest));
  ASSIGN_OR_RETURN(const AdapterConfig config,
                   AdapterConfig::Parse(blob->adapter_config()));
  std::vector<ModuleStatistics> found;
  if (config.kind() == AdapterKind::kIa3) {
    return found;
  }
  ASSIGN_OR_RETURN(const SafetensorsHeader header,
                   ReadAdapterHeader(blob.get()));
  ASSIGN_OR_RETURN(AdapterLayout layout,
                   MatchAdapter(header, config, modules_));
  // In the order of the file, so that each chunk is read about once.
  std::sort(layout.modules.begin(), layout.modules.end(),
            [&](const AdaptedModule& x, const AdaptedModule& y) {
              return StartOf(x, header) < StartOf(y, header);
            });
  const absl::Status status = CatchTorch([&]() -> absl::Status {
    const OneTorchThread alone;
    Inspection inspection(config, header, modules_, blob.get());
    RETURN_IF_ERROR(inspection.ReadShared(layout));
    for (const AdaptedModule& adapted : layout.modules) {
      if (stop()) {
        return absl::CancelledError("the inspection was stopped");
      }
      ASSIGN_OR_RETURN(const UpdateStatistics update, inspection.Of(adapted));
      if (update.rank > 0) {
        found.push_back({modules_[adapted.module].path, update});
      }
    }
    return absl::OkStatus();
  });
  RETURN_IF_ERROR(status);
  std::sort(found.begin(), found.end(),
            [](const ModuleStatistics& x, const ModuleStatistics& y) {
              return x.module < y.module;
            });
  return found;
}

}  // namespace stockpot
