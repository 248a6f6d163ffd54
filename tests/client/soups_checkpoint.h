// The LoRA-Soups checkpoint of tests/golden/model/soups.json on disk.

#ifndef STOCKPOT_TESTS_CLIENT_SOUPS_CHECKPOINT_H_
#define STOCKPOT_TESTS_CLIENT_SOUPS_CHECKPOINT_H_

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"

#include "formats/adapter_layout.h"
#include "tests/testing/tiny_adapter.h"
#include "tests/testing/tiny_model.h"

namespace stockpot::testing {

inline nlohmann::ordered_json SoupsGolden() {
  return ReadJson(STOCKPOT_SOURCE_DIR "/tests/golden/model/soups.json");
}

inline TinyModelSpec SoupsBase(const nlohmann::ordered_json& golden) {
  return {.config = golden.at("config"), .seed = golden.at("seed")};
}

// Writes each adapter as PEFT's fork saves it into `parent`/adapter_<i>, for a
// base of `modules`; returns the paths.
inline std::vector<std::string> WriteSoups(
    const nlohmann::ordered_json& golden, const std::string& parent,
    absl::Span<const BaseModule> modules) {
  std::vector<std::string> paths;
  for (const auto& adapter : golden.at("adapters")) {
    std::vector<RawTensor> tensors = TinyAdapterTensors(
        {.config = adapter.at("config"),
         .seed = adapter.at("seed"),
         .dtype = *DtypeFromName(adapter.at("dtype").get<std::string>())},
        modules);
    for (const auto& [path, value] :
         adapter.at("lora_learnable_weights").items()) {
      tensors.push_back(
          {.name = absl::StrCat("base_model.model.", path,
                                ".lora_learnable_weights"),
           .dtype = Dtype::kF32,
           .shape = {1},
           .bytes = EncodeFloats({value.get<float>()}, Dtype::kF32)});
    }
    paths.push_back(absl::StrCat(parent, "/adapter_", paths.size()));
    std::filesystem::create_directories(paths.back());
    WriteFile(paths.back() + "/adapter_config.json",
              adapter.at("config").dump());
    WriteFile(paths.back() + "/adapter_model.safetensors",
              SafetensorsFile(tensors));
  }
  return paths;
}

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_CLIENT_SOUPS_CHECKPOINT_H_
