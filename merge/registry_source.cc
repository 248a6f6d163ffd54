#include "merge/registry_source.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <ATen/ops/empty.h>

#include "base/status_macros.h"
#include "formats/adapter_config.h"
#include "formats/adapter_layout.h"
#include "formats/safetensors.h"
#include "merge/adapter_factors.h"
#include "merge/conversion.h"
#include "merge/module_loader.h"
#include "merge/replaced_rows.h"
#include "merge/stored_tensors.h"
#include "model/torch_status.h"
#include "model/torch_threads.h"

namespace stockpot {

namespace {

// Where a tensor of the file goes; nowhere if null.
struct Target {
  at::Tensor* place = nullptr;
  bool is_factor = false;  // To the model's dtype and device; else float32.
  bool is_b = false;       // Transposed.
};

// Streams the blob in order, so that its hash is checked on the way, and
// converts each tensor as soon as it is complete.
class TensorStream {
 public:
  TensorStream(const SafetensorsHeader& header, std::vector<Target> targets,
               const LoadOptions& options)
      : header_(header), targets_(std::move(targets)), options_(options) {}

  // `bytes` follow those of the last call, from the start of the file.
  // Errors: InvalidArgument for a tensor that the dtype to run in cannot hold.
  absl::Status Feed(absl::string_view bytes) {
    while (!bytes.empty()) {
      if (position_ < header_.data_offset) {
        const size_t skip = static_cast<size_t>(
            std::min<uint64_t>(bytes.size(), header_.data_offset - position_));
        Advance(skip, &bytes);
        continue;
      }
      PlaceEmpty();
      if (tensor_ == header_.tensors.size()) {
        break;
      }
      const TensorInfo& info = header_.tensors[tensor_];
      if (!raw_.defined()) {
        raw_ = at::empty(info.shape, TorchType(info.dtype));
      }
      const uint64_t done = position_ - header_.data_offset - info.begin;
      const size_t take = static_cast<size_t>(
          std::min<uint64_t>(bytes.size(), info.end - info.begin - done));
      std::memcpy(static_cast<char*>(raw_.data_ptr()) + done, bytes.data(),
                  take);
      Advance(take, &bytes);
      if (done + take == info.end - info.begin) {
        RETURN_IF_ERROR(Place(info));
      }
    }
    return absl::OkStatus();
  }

  // To be called after the last byte.
  void Finish() { PlaceEmpty(); }

 private:
  void Advance(size_t n, absl::string_view* bytes) {
    position_ += n;
    bytes->remove_prefix(n);
  }

  // Tensors without elements, which no byte completes.
  void PlaceEmpty() {
    for (; tensor_ < header_.tensors.size(); ++tensor_) {
      const TensorInfo& info = header_.tensors[tensor_];
      if (info.begin != info.end) {
        return;
      }
      if (at::Tensor* place = targets_[tensor_].place; place != nullptr) {
        *place = at::empty(info.shape, at::kFloat);
      }
    }
  }

  absl::Status Place(const TensorInfo& info) {
    const Target& target = targets_[tensor_++];
    const at::Tensor raw = std::move(raw_);
    raw_ = at::Tensor();
    if (target.place == nullptr) {
      return absl::OkStatus();
    }
    if (!target.is_factor) {
      *target.place = raw.to(at::kFloat);
      return absl::OkStatus();
    }
    absl::StatusOr<at::Tensor> placed =
        ToFactor(target.is_b ? raw.t() : raw, options_);
    if (!placed.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tensor \"", info.name, "\" ", placed.status().message()));
    }
    *target.place = *std::move(placed);
    return absl::OkStatus();
  }

  const SafetensorsHeader& header_;
  const std::vector<Target> targets_;
  const LoadOptions options_;
  uint64_t position_ = 0;
  size_t tensor_ = 0;
  at::Tensor raw_;  // The tensor being filled, in the file's dtype.
};

// The tensors of an adapter on their way into memory.
struct Loading {
  std::shared_ptr<AdapterFactors> factors;
  std::vector<RawParts> parts;  // [modules of the layout]
  SharedParts shared;
  std::vector<at::Tensor> rows;  // [layout.replaced]
  std::vector<Target> targets;   // [tensors]; point into the above.
};

// One entry per module of the layout, tensors still to come.
void Prepare(const AdapterLayout& layout, const AdapterConfig& config,
             size_t num_tensors, Loading* loading) {
  loading->factors = std::make_shared<AdapterFactors>();
  loading->factors->modules.resize(layout.modules.size());
  loading->parts.resize(layout.modules.size());
  loading->targets.resize(num_tensors);
  // Plain factors, the common and the largest case, need no copy in between.
  const bool is_plain =
      config.kind() == AdapterKind::kLora && !config.kind_options().use_dora;
  for (size_t i = 0; i < layout.modules.size(); ++i) {
    const AdaptedModule& adapted = layout.modules[i];
    ModuleFactors& factors = loading->factors->modules[i];
    factors.module = static_cast<int64_t>(adapted.module);
    for (size_t p = 0; p < kNumAdapterParts; ++p) {
      const auto part = static_cast<AdapterPart>(p);
      if (adapted.parts.Has(part) && part != AdapterPart::kSoupsLogit) {
        loading->targets[adapted.parts[part]].place = &loading->parts[i][part];
      }
    }
    if (is_plain) {
      loading->targets[adapted.parts[AdapterPart::kLoraA]] = {&factors.a, true,
                                                              false};
      loading->targets[adapted.parts[AdapterPart::kLoraB]] = {&factors.b, true,
                                                              true};
    }
  }
  loading->rows.resize(layout.replaced.size());
  for (size_t i = layout.replaced.size(); i-- > 0;) {
    // Of entries that share a tensor, the first gets it.
    loading->targets[layout.replaced[i].tensor] = {&loading->rows[i], true,
                                                   false};
  }
  if (layout.vera_a != kNoTensor && layout.vera_b != kNoTensor) {
    loading->targets[layout.vera_a].place = &loading->shared.vera_a;
    loading->targets[layout.vera_b].place = &loading->shared.vera_b;
  }
}

absl::Status ReadTensors(BlobReader* blob, const SafetensorsHeader& header,
                         const LoadOptions& options, Loading* loading) {
  TensorStream stream(header, loading->targets, options);
  std::string chunk;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, blob->Next(&chunk));
    if (!more) {
      break;
    }
    RETURN_IF_ERROR(stream.Feed(chunk));
  }
  stream.Finish();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<int64_t> RegistrySource::ResidentBytes(const Digest& digest) {
  ASSIGN_OR_RETURN(std::unique_ptr<BlobReader> blob, store_->OpenBlob(digest));
  ASSIGN_OR_RETURN(const AdapterConfig config,
                   AdapterConfig::Parse(blob->adapter_config()));
  ASSIGN_OR_RETURN(const SafetensorsHeader header,
                   ReadAdapterHeader(blob.get()));
  ASSIGN_OR_RETURN(const AdapterLayout layout,
                   MatchAdapter(header, config, model_->modules()));
  int64_t bytes = 0;
  for (const AdaptedModule& adapted : layout.modules) {
    bytes += MostBytes(model_->modules()[adapted.module], config, adapted,
                       model_->options().dtype);
  }
  return bytes + ReplacedBytes(header, layout, model_->options().dtype);
}

absl::StatusOr<std::shared_ptr<const Adapter>> RegistrySource::Load(
    const Digest& digest) {
  ASSIGN_OR_RETURN(std::unique_ptr<BlobReader> blob, store_->OpenBlob(digest));
  ASSIGN_OR_RETURN(const AdapterConfig config,
                   AdapterConfig::Parse(blob->adapter_config()));
  ASSIGN_OR_RETURN(const SafetensorsHeader header,
                   ReadAdapterHeader(blob.get()));
  ASSIGN_OR_RETURN(const AdapterLayout layout,
                   MatchAdapter(header, config, model_->modules()));
  return CatchTorch([&]() -> absl::StatusOr<std::shared_ptr<const Adapter>> {
    const OneTorchThread alone;
    Loading loading;
    Prepare(layout, config, header.tensors.size(), &loading);
    RETURN_IF_ERROR(
        ReadTensors(blob.get(), header, model_->options(), &loading));
    auto adapter = std::make_shared<Adapter>();
    adapter->digest = digest;
    adapter->alone_because = AloneBecause(config);
    adapter->has_bias = config.kind_options().lora_bias;
    adapter->scales.resize(model_->modules().size());
    adapter->ranks.resize(model_->modules().size());
    for (size_t i = 0; i < layout.modules.size(); ++i) {
      const AdaptedModule& adapted = layout.modules[i];
      ModuleFactors& factors = loading.factors->modules[i];
      ASSIGN_OR_RETURN(adapter->scales[adapted.module],
                       FinishModule(*model_, config, adapted, loading.shared,
                                    &loading.parts[i], &factors));
      adapter->ranks[adapted.module] =
          factors.a.defined() ? static_cast<int32_t>(factors.a.size(0)) : 0;
      adapter->bytes += factors.bytes();
      adapter->has_row_terms |= factors.has_row_terms();
    }
    SetReplaced(layout, loading.rows, adapter.get(), loading.factors.get());
    adapter->factors = std::move(loading.factors);
    return adapter;
  });
}

}  // namespace stockpot
