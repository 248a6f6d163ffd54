#include "merge/registry_source.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>

#include "base/status_macros.h"
#include "formats/adapter_config.h"
#include "formats/adapter_layout.h"
#include "formats/safetensors.h"
#include "merge/adapter_factors.h"
#include "model/torch_status.h"
#include "model/torch_threads.h"

namespace stockpot {

namespace {

at::ScalarType TorchType(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF16:
      return at::kHalf;
    case Dtype::kBF16:
      return at::kBFloat16;
    default:
      return at::kFloat;  // MatchAdapter() lets only these three pass.
  }
}

absl::StatusOr<SafetensorsHeader> ReadHeader(BlobReader* blob) {
  char prefix[8];
  RETURN_IF_ERROR(blob->ReadAt(0, absl::MakeSpan(prefix)));
  ASSIGN_OR_RETURN(
      const uint64_t header_bytes,
      SafetensorsHeaderBytes(absl::string_view(prefix, sizeof(prefix)),
                             blob->size_bytes(), AdapterLimits()));
  std::string head(header_bytes, '\0');
  RETURN_IF_ERROR(blob->ReadAt(0, absl::MakeSpan(head)));
  return ParseSafetensorsHeader(head, blob->size_bytes(), AdapterLimits());
}

// Where a tensor of the file goes.
struct Target {
  ModuleFactors* factors = nullptr;
  bool is_b = false;
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

 private:
  void Advance(size_t n, absl::string_view* bytes) {
    position_ += n;
    bytes->remove_prefix(n);
  }

  absl::Status Place(const TensorInfo& info) {
    const Target& target = targets_[tensor_++];
    const at::Tensor oriented = target.is_b ? raw_.t() : raw_;
    at::Tensor& placed = target.is_b ? target.factors->b : target.factors->a;
    placed = oriented.to(options_.device, options_.dtype).contiguous();
    // A value of the file is finite; one beyond bfloat16's range is not any
    // more, and times the zero of a row that does not use it would be NaN
    // there.
    if (raw_.scalar_type() == at::kFloat && options_.dtype != at::kFloat &&
        !at::isfinite(placed).all().item<bool>()) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor \"", info.name,
                       "\" holds a value beyond 3.39e38, which the "
                       "server's bfloat16 cannot hold; its training diverged"));
    }
    raw_ = at::Tensor();
    return absl::OkStatus();
  }

  const SafetensorsHeader& header_;
  const std::vector<Target> targets_;
  const LoadOptions options_;
  uint64_t position_ = 0;
  size_t tensor_ = 0;
  at::Tensor raw_;  // The tensor being filled, in the file's dtype.
};

// AdapterFactors with one entry per module of the layout, tensors still to
// come.
std::shared_ptr<AdapterFactors> EmptyFactors(const AdapterLayout& layout,
                                             size_t num_tensors,
                                             std::vector<Target>* targets) {
  auto factors = std::make_shared<AdapterFactors>();
  factors->modules.resize(layout.modules.size());
  targets->resize(num_tensors);
  for (size_t i = 0; i < layout.modules.size(); ++i) {
    const AdaptedModule& adapted = layout.modules[i];
    factors->modules[i].module = static_cast<int64_t>(adapted.module);
    (*targets)[adapted.a] = {&factors->modules[i], false};
    (*targets)[adapted.b] = {&factors->modules[i], true};
  }
  return factors;
}

}  // namespace

absl::StatusOr<int64_t> RegistrySource::ResidentBytes(const Digest& digest) {
  ASSIGN_OR_RETURN(std::unique_ptr<BlobReader> blob, store_->OpenBlob(digest));
  // At most float32 of a file that holds at least 2 bytes an element.
  const int64_t growth = model_->options().dtype == at::kFloat ? 2 : 1;
  return static_cast<int64_t>(blob->size_bytes()) * growth;
}

absl::StatusOr<std::shared_ptr<const Adapter>> RegistrySource::Load(
    const Digest& digest) {
  ASSIGN_OR_RETURN(std::unique_ptr<BlobReader> blob, store_->OpenBlob(digest));
  ASSIGN_OR_RETURN(const AdapterConfig config,
                   AdapterConfig::Parse(blob->adapter_config()));
  ASSIGN_OR_RETURN(const SafetensorsHeader header, ReadHeader(blob.get()));
  ASSIGN_OR_RETURN(const AdapterLayout layout,
                   MatchAdapter(header, config, model_->modules()));
  return CatchTorch([&]() -> absl::StatusOr<std::shared_ptr<const Adapter>> {
    const OneTorchThread alone;
    std::vector<Target> targets;
    std::shared_ptr<AdapterFactors> factors =
        EmptyFactors(layout, header.tensors.size(), &targets);
    TensorStream stream(header, std::move(targets), model_->options());
    std::string chunk;
    while (true) {
      ASSIGN_OR_RETURN(const bool more, blob->Next(&chunk));
      if (!more) {
        break;
      }
      RETURN_IF_ERROR(stream.Feed(chunk));
    }
    auto adapter = std::make_shared<Adapter>();
    adapter->digest = digest;
    adapter->scales.resize(model_->modules().size());
    adapter->ranks.resize(model_->modules().size());
    for (size_t i = 0; i < layout.modules.size(); ++i) {
      const AdaptedModule& adapted = layout.modules[i];
      adapter->scales[adapted.module] = static_cast<float>(adapted.scale);
      adapter->ranks[adapted.module] =
          static_cast<int32_t>(factors->modules[i].a.size(0));
      adapter->bytes += static_cast<int64_t>(factors->modules[i].a.nbytes() +
                                             factors->modules[i].b.nbytes());
    }
    adapter->factors = std::move(factors);
    return adapter;
  });
}

}  // namespace stockpot
