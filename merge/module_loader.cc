#include "merge/module_loader.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>

#include "base/status_macros.h"
#include "formats/quoted.h"
#include "merge/dora.h"
#include "merge/replaced_rows.h"
#include "model/torch_status.h"
#include "model/torch_threads.h"

namespace stockpot {

namespace {

bool IsFinite(const at::Tensor& t) {
  return at::isfinite(t).all().item<bool>();
}

absl::Status InModule(const BaseModule& module, const absl::Status& status) {
  return absl::Status(
      status.code(),
      absl::StrCat("module ", Quoted(module.path), ": ", status.message()));
}

// float32, of a tensor that MatchAdapter() let pass.
at::Tensor TensorOf(const TensorInfo& info, absl::string_view data) {
  const at::ScalarType type = info.dtype == Dtype::kF16    ? at::kHalf
                              : info.dtype == Dtype::kBF16 ? at::kBFloat16
                                                           : at::kFloat;
  at::Tensor raw = at::empty(info.shape, type);
  std::memcpy(raw.data_ptr(), data.data() + info.begin, info.num_bytes());
  return raw.to(at::kFloat);
}

// Makes gain and shift, and puts the scaling into b: (m / c) (s B A).
absl::Status ApplyDora(const BaseModel& model, const AdaptedModule& adapted,
                       const at::Tensor& magnitude, ConvertedModule* converted,
                       ModuleFactors* factors) {
  ASSIGN_OR_RETURN(const ModuleWeights base, model.Weights(adapted.module));
  factors->gain = DoraGain(base.weight, converted->a, converted->b,
                           adapted.scale, magnitude);
  if (!IsFinite(factors->gain)) {
    return absl::InvalidArgumentError(
        "DoRA's magnitude divided by the norm of a row of W + s B A is not "
        "finite; a row of the merged weight is zero");
  }
  if (base.bias.defined()) {
    factors->shift = (1 - factors->gain) * base.bias.to(at::kFloat);
  }
  converted->b = converted->b * adapted.scale;
  return absl::OkStatus();
}

float FinishIa3(const BaseModel& model, const AdaptedModule& adapted,
                const at::Tensor& l, ModuleFactors* factors) {
  const BaseModule& module = model.modules()[adapted.module];
  const auto options = at::TensorOptions()
                           .dtype(model.options().dtype)
                           .device(model.options().device);
  factors->a = at::empty({0, module.in}, options);
  factors->b = at::empty({0, module.out}, options);
  (l.size(0) == 1 ? factors->input_gain : factors->gain) = l.flatten();
  return 1;
}

}  // namespace

std::string AloneBecause(const AdapterConfig& config) {
  if (config.kind() == AdapterKind::kIa3) {
    return "IA3 multiplies activations, and neither a share of a product nor "
           "the sum of two is defined";
  }
  if (config.kind_options().use_dora) {
    return "DoRA sets the norm of each row of the merged weights, which holds "
           "for its own update alone";
  }
  return "";
}

int64_t MostBytes(const BaseModule& module, const AdapterConfig& config,
                  const AdaptedModule& adapted, at::ScalarType dtype) {
  const auto element = static_cast<int64_t>(c10::elementSize(dtype));
  int64_t bytes = adapted.rank * (module.in + module.out) * element;
  const int64_t row_bytes = 4 * (module.in + module.out);
  const AdapterKindOptions& options = config.kind_options();
  if (options.lora_bias || options.use_dora ||
      options.kind == AdapterKind::kIa3) {
    bytes += 2 * row_bytes;
  }
  return bytes;
}

absl::StatusOr<at::Tensor> ToFactor(const at::Tensor& t,
                                    const LoadOptions& options) {
  at::Tensor placed = t.to(options.device, options.dtype).contiguous();
  // A value of the file is finite; one beyond bfloat16's range is not any more,
  // and times the zero of a row that does not use it would be NaN there.
  if (t.scalar_type() == at::kFloat && options.dtype != at::kFloat &&
      !IsFinite(placed)) {
    return absl::InvalidArgumentError(
        "holds a value beyond 3.39e38, which the server's bfloat16 cannot "
        "hold; its training diverged");
  }
  return placed;
}

absl::StatusOr<float> FinishModule(const BaseModel& model,
                                   const AdapterConfig& config,
                                   const AdaptedModule& adapted,
                                   const SharedParts& shared, RawParts* parts,
                                   ModuleFactors* factors) {
  const RawParts raw = std::exchange(*parts, RawParts());
  const BaseModule& module = model.modules()[adapted.module];
  if (config.kind() == AdapterKind::kIa3) {
    return FinishIa3(model, adapted, raw[AdapterPart::kIa3], factors);
  }
  factors->bias = raw[AdapterPart::kLoraBias];
  if (factors->a.defined()) {
    return static_cast<float>(adapted.scale);
  }
  ASSIGN_OR_RETURN(
      ConvertedModule converted,
      ConvertModule(module, adapted, config.kind_options(), raw, shared));
  const bool is_dora = raw.Has(AdapterPart::kMagnitude);
  if (is_dora) {
    const absl::Status status = ApplyDora(
        model, adapted, raw[AdapterPart::kMagnitude], &converted, factors);
    if (!status.ok()) {
      return InModule(module, status);
    }
  }
  if (!IsFinite(converted.a) || !IsFinite(converted.b)) {
    return InModule(module, absl::InvalidArgumentError(
                                "a product of its tensors is beyond float32's "
                                "range; its training diverged"));
  }
  for (const auto& [from, to] : {std::pair{&converted.a, &factors->a},
                                 std::pair{&converted.b, &factors->b}}) {
    absl::StatusOr<at::Tensor> placed =
        ToFactor(to == &factors->b ? from->t() : *from, model.options());
    if (!placed.ok()) {
      return InModule(module, placed.status());
    }
    *to = *std::move(placed);
  }
  return is_dora ? 1.0f : static_cast<float>(adapted.scale);
}

absl::StatusOr<double> MeasureConversion(const BaseModel& model,
                                         const AdapterConfig& config,
                                         const SafetensorsHeader& header,
                                         const AdapterLayout& layout,
                                         absl::string_view data) {
  return CatchTorch([&]() -> absl::StatusOr<double> {
    const OneTorchThread alone;
    RETURN_IF_ERROR(CheckBaseCopies(model, header, layout, data));
    double least = 1;
    for (const AdaptedModule& adapted : layout.modules) {
      if (adapted.is_exact) {
        continue;
      }
      RawParts parts;
      for (size_t p = 0; p < kNumAdapterParts; ++p) {
        const auto part = static_cast<AdapterPart>(p);
        if (adapted.parts.Has(part)) {
          parts[part] = TensorOf(header.tensors[adapted.parts[part]], data);
        }
      }
      // No kind that is converted with a loss has shared parts.
      ASSIGN_OR_RETURN(
          const ConvertedModule converted,
          ConvertModule(model.modules()[adapted.module], adapted,
                        config.kind_options(), parts, SharedParts()));
      least = std::min(least, converted.kept_energy);
    }
    return least;
  });
}

}  // namespace stockpot
