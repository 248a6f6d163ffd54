#include "formats/adapter_kind_options.h"

#include <limits>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "base/status_macros.h"
#include "formats/json.h"
#include "formats/quoted.h"

namespace stockpot {
namespace {

using nlohmann::ordered_json;

constexpr double kMaxSpectrumScaling = 1e8;
constexpr int64_t kMaxMiniRank = 1 << 20;

absl::Status ReadLora(const ordered_json& root, AdapterKindOptions* options) {
  ASSIGN_OR_RETURN(options->use_dora, GetBoolOr(root, "use_dora", false));
  ASSIGN_OR_RETURN(options->lora_bias, GetBoolOr(root, "lora_bias", false));
  if (options->use_dora && options->lora_bias) {
    return absl::InvalidArgumentError(
        "field \"lora_bias\" cannot be true beside \"use_dora\": PEFT defines "
        "no such adapter");
  }
  return absl::OkStatus();
}

absl::Status ReadVera(const ordered_json& root) {
  ASSIGN_OR_RETURN(const bool saved, GetBoolOr(root, "save_projection", true));
  if (!saved) {
    return absl::UnimplementedError(
        "field \"save_projection\" is false, so the file lacks the shared "
        "vera_A and vera_B, which torch's random numbers made; load the "
        "adapter in PEFT, set save_projection=True and save it again");
  }
  return absl::OkStatus();
}

absl::Status ReadFourierFt(const ordered_json& root,
                           AdapterKindOptions* options) {
  ASSIGN_OR_RETURN(
      options->spectrum_scaling,
      GetDouble(root, "scaling", -kMaxSpectrumScaling, kMaxSpectrumScaling));
  ASSIGN_OR_RETURN(
      const int64_t seed,
      GetInt(root, "random_loc_seed", 0, std::numeric_limits<int64_t>::max()));
  options->location_seed = static_cast<uint64_t>(seed);
  return absl::OkStatus();
}

absl::Status ReadMiss(const ordered_json& root, AdapterKindOptions* options) {
  const ordered_json* init = FindNonNull(root, "init_weights");
  if (init == nullptr || init->is_boolean()) {
    return absl::OkStatus();
  }
  const std::string name =
      init->is_string() ? init->get<std::string>() : std::string();
  if (name == "bat") {
    return absl::UnimplementedError(
        "field \"init_weights\": the update of \"bat\" depends on the base "
        "weights and has their full rank; train with init_weights=True or "
        "\"mini\"");
  }
  if (name != "mini") {
    return absl::InvalidArgumentError(
        "field \"init_weights\" must be true, false, \"mini\" or \"bat\"");
  }
  ASSIGN_OR_RETURN(options->mini_r, GetInt(root, "mini_r", 1, kMaxMiniRank));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<AdapterKindOptions> ReadKindOptions(const ordered_json& root) {
  ASSIGN_OR_RETURN(const std::string peft_type, GetString(root, "peft_type"));
  const std::optional<AdapterKind> kind = AdapterKindOf(peft_type);
  if (!kind.has_value()) {
    return absl::UnimplementedError(absl::StrCat(
        "field \"peft_type\": ", Quoted(peft_type), " is not served"));
  }
  AdapterKindOptions options;
  options.kind = *kind;
  switch (*kind) {
    case AdapterKind::kLora:
      RETURN_IF_ERROR(ReadLora(root, &options));
      break;
    case AdapterKind::kVera:
      RETURN_IF_ERROR(ReadVera(root));
      break;
    case AdapterKind::kFourierFt:
      RETURN_IF_ERROR(ReadFourierFt(root, &options));
      break;
    case AdapterKind::kMiss:
      RETURN_IF_ERROR(ReadMiss(root, &options));
      break;
    default:
      break;
  }
  return options;
}

}  // namespace stockpot
