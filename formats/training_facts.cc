#include "formats/training_facts.h"

#include <cstddef>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

#include "formats/adapter_config.h"
#include "formats/json.h"
#include "formats/peft_keys.h"

namespace stockpot {
namespace {

constexpr size_t kMaxValueBytes = 256;

// Adapter has a field for the first; the second is about running.
bool IsLeftOut(absl::string_view key) {
  return key == "peft_type" || key == "inference_mode" || !IsKnownPeftKey(key);
}

}  // namespace

std::map<std::string, std::string> TrainingFacts(
    absl::string_view adapter_config) {
  const absl::StatusOr<nlohmann::json> config =
      ParseJson(adapter_config, {.max_bytes = AdapterConfig::kMaxFileBytes,
                                 .max_depth = 32,
                                 .allow_duplicate_keys = true});
  std::map<std::string, std::string> facts;
  if (!config.ok() || !config->is_object()) {
    return facts;
  }
  for (const auto& [key, value] : config->items()) {
    if (IsLeftOut(key) || value.is_null() || value.is_structured()) {
      continue;
    }
    std::string text =
        value.is_string() ? value.get<std::string>() : value.dump();
    if (!text.empty() && text.size() <= kMaxValueBytes) {
      facts.emplace(key, std::move(text));
    }
  }
  return facts;
}

}  // namespace stockpot
