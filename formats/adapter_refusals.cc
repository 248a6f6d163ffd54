#include "formats/adapter_refusals.h"

#include <array>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

#include "base/status_macros.h"
#include "formats/json.h"
#include "formats/quoted.h"

namespace stockpot {
namespace {

using nlohmann::ordered_json;

struct Refusal {
  const char* key;
  const char* sentence;
};

// Refused when the value is there and is neither null, false, nor empty.
constexpr std::array<Refusal, 13> kRefusals = {{
    {"use_dora",
     "DoRA rescales the merged weights by lora_magnitude_vector, which plain "
     "factors cannot express; train with use_dora=False"},
    {"lora_bias",
     "a bias on lora_B is not supported; train with lora_bias=False"},
    {"modules_to_save",
     "the adapter replaces whole modules, which stay shared between requests "
     "here; train without modules_to_save"},
    {"trainable_token_indices",
     "trained embedding rows are not supported; train without "
     "trainable_token_indices"},
    {"target_parameters",
     "adapted parameters that are not linear layers are not supported; use "
     "target_modules"},
    {"layer_replication",
     "the adapter repeats layers of the base model, which is shared between "
     "requests here; train without layer_replication"},
    {"alora_invocation_tokens",
     "aLoRA, active only after its invocation tokens, is not supported; train "
     "a plain LoRA"},
    {"use_qalora",
     "QALoRA pools the inputs of lora_A, which is not supported; train with "
     "use_qalora=False"},
    {"arrow_config",
     "an Arrow router is not an adapter of its own; register the adapters that "
     "it routes between"},
    {"kasa_config",
     "KaSA changes the base weights and adds a diagonal; train a plain LoRA"},
    {"use_bdlora",
     "block-diagonal factors are not supported; train a plain LoRA"},
    {"monteclora_config",
     "sampled factors are not supported; train a plain LoRA"},
    {"enable_lora",
     "the merged projections of PEFT before 0.3 are not supported; train again "
     "with a newer PEFT"},
}};

bool IsSet(const ordered_json* value) {
  if (value == nullptr) {
    return false;
  }
  if (value->is_boolean()) {
    return value->get<bool>();
  }
  if (value->is_array() || value->is_object()) {
    return !value->empty();
  }
  if (value->is_string()) {
    return !value->get_ref<const std::string&>().empty();
  }
  return true;
}

absl::Status Refuse(absl::string_view key, absl::string_view sentence) {
  return absl::UnimplementedError(
      absl::StrCat("field \"", key, "\": ", sentence));
}

// Initialisations that take a part out of the base weights and put it into the
// factors: B A is then not the change to the weights that we serve.
absl::Status CheckInitialisation(const ordered_json& root) {
  constexpr char kKey[] = "init_lora_weights";
  const ordered_json* value = FindNonNull(root, kKey);
  if (value == nullptr || value->is_boolean()) {
    return absl::OkStatus();
  }
  if (!value->is_string()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "field \"", kKey, "\" must be true, false or a string, got ",
        value->type_name()));
  }
  const std::string name =
      absl::AsciiStrToLower(value->get_ref<const std::string&>());
  for (absl::string_view plain : {"gaussian", "eva", "orthogonal", "mica"}) {
    if (name == plain) {
      return absl::OkStatus();
    }
  }
  if (name == "loftq") {
    return Refuse(kKey,
                  "\"loftq\" was trained against a quantised base model and "
                  "does not fit the base weights here");
  }
  for (absl::string_view mutating : {"pissa", "corda", "olora", "lora_ga"}) {
    if (absl::StartsWith(name, mutating)) {
      return Refuse(kKey,
                    absl::StrCat(Quoted(name),
                                 " changed the base weights when training "
                                 "began; save it again with save_pretrained("
                                 "path_initial_model_for_weight_conversion=...)"
                                 ", which makes it a plain LoRA"));
    }
  }
  return Refuse(kKey, absl::StrCat(Quoted(name),
                                   " is not known, so it is not known whether "
                                   "it changed the base weights"));
}

}  // namespace

absl::Status RefuseUnsupported(const ordered_json& root) {
  ASSIGN_OR_RETURN(const std::string peft_type, GetString(root, "peft_type"));
  if (peft_type != "LORA") {
    return Refuse("peft_type",
                  absl::StrCat(Quoted(peft_type),
                               " is not supported; supported is LORA"));
  }
  ASSIGN_OR_RETURN(const std::string bias, GetStringOr(root, "bias", "none"));
  if (bias != "none") {
    return Refuse("bias", absl::StrCat(Quoted(bias),
                                       " trains the base model's biases, which "
                                       "are shared between requests here; "
                                       "train with bias=\"none\""));
  }
  for (const Refusal& refusal : kRefusals) {
    if (IsSet(FindNonNull(root, refusal.key))) {
      return Refuse(refusal.key, refusal.sentence);
    }
  }
  return CheckInitialisation(root);
}

}  // namespace stockpot
