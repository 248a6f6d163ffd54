// What a recipe merges to, written as a PEFT adapter of its own: made from the
// skills' files and MergeModule() alone, without registry, composer or cache.

#ifndef STOCKPOT_TESTS_MERGE_MERGED_ADAPTER_H_
#define STOCKPOT_TESTS_MERGE_MERGED_ADAPTER_H_

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include "formats/adapter_config.h"
#include "merge/merge_module.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/tiny_adapter.h"

namespace stockpot::testing {

struct WeightedAdapter {
  TinyAdapterSpec spec;  // F32
  double weight = 1;
};

inline at::Tensor TensorOf(const RawTensor& raw) {
  at::Tensor tensor = at::empty(raw.shape, at::kFloat);
  std::memcpy(tensor.data_ptr(), raw.bytes.data(), raw.bytes.size());
  return tensor;
}

inline RawTensor RawOf(const std::string& name, const at::Tensor& tensor) {
  const at::Tensor values = tensor.contiguous();
  return {name,
          Dtype::kF32,
          values.sizes().vec(),
          {static_cast<const char*>(values.const_data_ptr()),
           static_cast<size_t>(values.nbytes())}};
}

// Every method with numbers that show, on skills of rank 4 and scaling 2, so
// that the result has a rank of 6 where it may.
inline std::vector<MergeOptions> MethodsToServe() {
  std::vector<MergeOptions> all;
  for (const MergeMethod method : AllMethods()) {
    MergeOptions options = {.method = method,
                            .density = 0.6f,
                            .epsilon = 0.2f,
                            .gamma = 0.05f,
                            .seed = 11};
    options.rank = HasRank(options) ? 6 : 0;
    all.push_back(options);
    if (method < MergeMethod::kMagnitudePrune ||
        method > MergeMethod::kBreadcrumbs) {
      continue;
    }
    options.space = MergeSpace::kCore;
    all.push_back(options);
    options.space = MergeSpace::kFactors;
    options.rank = 0;
    all.push_back(options);
  }
  all.push_back({.pico = true});
  all.push_back(
      {.method = MergeMethod::kCompressThenMerge, .beta = 0.25f, .rank = 6});
  all.push_back({.method = MergeMethod::kDare,
                 .dialect = MergeDialect::kMergekit,
                 .sign_election = SignElection::kFrequency,
                 .elect_signs = true,
                 .lambda = 0.75f,
                 .pico = true});
  return all;
}

// Scaling 1 in every module; rank and targets as they come out.
inline TinyAdapter MergedAdapter(const std::vector<WeightedAdapter>& skills,
                                 const MergeOptions& options,
                                 absl::Span<const BaseModule> modules) {
  std::vector<RawTensor> merged_tensors;
  nlohmann::ordered_json targets = nlohmann::ordered_json::array();
  nlohmann::ordered_json ranks = nlohmann::ordered_json::object();
  for (size_t m = 0; m < modules.size(); ++m) {
    const std::string prefix =
        absl::StrCat("base_model.model.", modules[m].path, ".");
    std::vector<MergeTerm> terms;
    for (const WeightedAdapter& skill : skills) {
      const auto tensors = TinyAdapterTensors(skill.spec, modules);
      for (size_t i = 0; i + 1 < tensors.size(); i += 2) {
        if (tensors[i].name != prefix + "lora_A.weight") continue;
        const double alpha = skill.spec.config.at("lora_alpha");
        const double rank = static_cast<double>(tensors[i].shape[0]);
        terms.push_back({.a = TensorOf(tensors[i]),
                         .b = TensorOf(tensors[i + 1]),
                         .scale = alpha / rank,
                         .weight = skill.weight});
      }
    }
    if (terms.empty()) continue;
    const auto merged = MergeModule(terms, options, m);
    EXPECT_THAT(merged, IsOk()) << MethodText(options);
    targets.push_back(modules[m].path);
    ranks[modules[m].path] = merged->a.size(0);
    merged_tensors.push_back(RawOf(prefix + "lora_A.weight", merged->a));
    merged_tensors.push_back(RawOf(prefix + "lora_B.weight", merged->b));
  }
  nlohmann::ordered_json config = LoraConfig(1, 1, targets);
  config["rank_pattern"] = ranks;
  config["alpha_pattern"] = ranks;
  return {config.dump(), SafetensorsFile(merged_tensors)};
}

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_MERGE_MERGED_ADAPTER_H_
