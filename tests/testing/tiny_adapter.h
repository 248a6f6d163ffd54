// Tiny PEFT adapters for any base model, with weights made as those of
// tests/testing/tiny_model.h.

#ifndef STOCKPOT_TESTS_TESTING_TINY_ADAPTER_H_
#define STOCKPOT_TESTS_TESTING_TINY_ADAPTER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "nlohmann/json.hpp"

#include "formats/adapter_layout.h"
#include "formats/safetensors.h"
#include "tests/testing/tiny_model.h"

namespace stockpot::testing {

// An adapter_config.json as PEFT writes it. `targets` is a list of names or a
// string; tests change single keys of the result.
nlohmann::ordered_json LoraConfig(int64_t rank, double alpha,
                                  nlohmann::ordered_json targets);

struct TinyAdapterSpec {
  nlohmann::ordered_json config;
  uint64_t seed = 1;
  Dtype dtype = Dtype::kF32;
};

struct TinyAdapter {
  std::string config;       // adapter_config.json
  std::string safetensors;  // adapter_model.safetensors
};

// The tensors of the adapter, in the order of the base model's modules.
std::vector<RawTensor> TinyAdapterTensors(const TinyAdapterSpec& spec,
                                          absl::Span<const BaseModule> modules);

TinyAdapter MakeTinyAdapter(const TinyAdapterSpec& spec,
                            absl::Span<const BaseModule> modules);

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_TESTING_TINY_ADAPTER_H_
