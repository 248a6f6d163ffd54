#include "formats/adapter_refusals.h"

#include <array>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

#include "base/status_macros.h"
#include "formats/adapter_kind.h"
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
constexpr std::array<Refusal, 9> kRefusals = {{
    {"target_parameters",
     "adapted parameters that are not linear layers (experts) do not exist in "
     "the base models served here; use target_modules"},
    {"layer_replication",
     "the adapter repeats layers of the base model, which is shared between "
     "requests here; train without layer_replication"},
    {"alora_invocation_tokens",
     "aLoRA changes only the tokens after its invocation tokens, and no merged "
     "or converted form does the same; train a plain LoRA"},
    {"use_qalora",
     "QALoRA was trained against a quantised base model and pools the inputs "
     "of "
     "lora_A in groups; train with use_qalora=False"},
    {"arrow_config",
     "an Arrow router holds no update of its own; register the adapters that "
     "it "
     "routes between and weigh them in a recipe"},
    {"kasa_config",
     "KaSA truncates the base weights before it adds to them; train a plain "
     "LoRA"},
    {"use_bdlora",
     "block-diagonal factors are not supported; train a plain LoRA"},
    {"monteclora_config",
     "sampled factors are not supported; train a plain LoRA"},
    {"enable_lora",
     "the merged projections of PEFT before 0.3 are not supported; train again "
     "with a newer PEFT"},
}};

absl::Status Refuse(absl::string_view key, absl::string_view sentence) {
  return absl::UnimplementedError(
      absl::StrCat("field \"", key, "\": ", sentence));
}

constexpr char kConvert[] =
    "convert it to LoRA once with peft.save_as_lora(path, model, rank)";
constexpr char kMerge[] =
    "serve the base model that PEFT's merge_and_unload() makes of it";
constexpr char kPrompt[] =
    "it adds virtual tokens to the prompt and changes no linear layer; send "
    "the instruction as text, or train a LoRA";

struct OtherType {
  const char* peft_type;
  const char* reason;
  const char* remedy;
};
// Of the types that PEFT knows and that are not in AdapterKind.
constexpr std::array kOtherTypes = {
    OtherType{"OFT", "rotates the base weights, which no factors can express",
              kMerge},
    OtherType{"BOFT", "rotates the base weights, which no factors can express",
              kMerge},
    OtherType{"HRA", "reflects the base weights, which no factors can express",
              kMerge},
    OtherType{
        "PSOFT",
        "rotates the principal part of the base weights, which no factors "
        "can express",
        kMerge},
    OtherType{"ROAD", "rotates pairs of outputs, which no factors can express",
              kMerge},
    OtherType{"HIRA", "multiplies each base weight by its own factor",
              kConvert},
    OtherType{"LN_TUNING", "replaces norms, which stay shared between requests",
              kMerge},
    OtherType{"OSF", "replaces singular vectors of the base weights", kMerge},
    OtherType{"XLORA",
              "chooses weights for its adapters with a trained network; "
              "register the adapters and weigh them in a recipe",
              ""},
    OtherType{"POLY",
              "mixes a pool of factors per task id, which a request has not; "
              "train a LoRA per task",
              ""},
    OtherType{"PROMPT_TUNING", kPrompt, ""},
    OtherType{"MULTITASK_PROMPT_TUNING", kPrompt, ""},
    OtherType{"P_TUNING", kPrompt, ""},
    OtherType{"PREFIX_TUNING", kPrompt, ""},
    OtherType{"CPT", kPrompt, ""},
    OtherType{"CARTRIDGE", kPrompt, ""},
    OtherType{"ADAPTION_PROMPT", kPrompt, ""},
};

absl::Status RefuseType(absl::string_view peft_type) {
  std::string served = "served are ";
  absl::StrAppend(&served, absl::StrJoin(ServedPeftTypes(), ", "));
  for (const OtherType& other : kOtherTypes) {
    if (other.peft_type == peft_type) {
      const absl::string_view remedy = other.remedy;
      return Refuse(
          "peft_type",
          absl::StrCat(Quoted(peft_type), " is not served: ", other.reason,
                       remedy.empty() ? "" : "; ", remedy, ". ", served));
    }
  }
  return Refuse("peft_type",
                absl::StrCat(Quoted(peft_type), " is not served; if PEFT can, ",
                             kConvert, ". ", served));
}

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
  if (!AdapterKindOf(peft_type).has_value()) {
    return RefuseType(peft_type);
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
