#include "tests/testing/tiny_adapter.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

#include "formats/adapter_config.h"

namespace stockpot::testing {

namespace {

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "tests/testing: %s\n",
                 value.status().ToString().c_str());
    std::abort();
  }
  return *std::move(value);
}

}  // namespace

nlohmann::ordered_json LoraConfig(int64_t rank, double alpha,
                                  nlohmann::ordered_json targets) {
  return {{"peft_type", "LORA"},
          {"task_type", "CAUSAL_LM"},
          {"r", rank},
          {"lora_alpha", alpha},
          {"target_modules", std::move(targets)},
          {"bias", "none"},
          {"fan_in_fan_out", false},
          {"inference_mode", true},
          {"lora_dropout", 0.0},
          {"use_rslora", false},
          {"rank_pattern", nlohmann::ordered_json::object()},
          {"alpha_pattern", nlohmann::ordered_json::object()},
          {"base_model_name_or_path", "tiny"}};
}

std::vector<RawTensor> TinyAdapterTensors(
    const TinyAdapterSpec& spec, absl::Span<const BaseModule> modules) {
  const AdapterConfig config = OrDie(AdapterConfig::Parse(spec.config.dump()));
  std::vector<RawTensor> tensors;
  for (const BaseModule& module : modules) {
    if (!OrDie(config.Targets(module.path, module.is_end()))) {
      continue;
    }
    const int64_t rank = OrDie(config.Rank(module.path));
    const std::string prefix =
        absl::StrCat("base_model.model.", module.path, ".");
    const char* const a =
        module.is_embedding ? "lora_embedding_A" : "lora_A.weight";
    const char* const b =
        module.is_embedding ? "lora_embedding_B" : "lora_B.weight";
    for (const TinyTensor& t : {TinyTensor{prefix + a, {rank, module.in}},
                                TinyTensor{prefix + b, {module.out, rank}}}) {
      tensors.push_back({t.name, spec.dtype, t.shape,
                         TinyTensorBytes(t, spec.seed, spec.dtype)});
    }
  }
  return tensors;
}

TinyAdapter MakeTinyAdapter(const TinyAdapterSpec& spec,
                            absl::Span<const BaseModule> modules) {
  return {spec.config.dump(),
          SafetensorsFile(TinyAdapterTensors(spec, modules))};
}

}  // namespace stockpot::testing
