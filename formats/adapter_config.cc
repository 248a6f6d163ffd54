#include "formats/adapter_config.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "base/status_macros.h"
#include "formats/adapter_refusals.h"
#include "formats/json.h"
#include "formats/peft_keys.h"
#include "formats/quoted.h"

namespace stockpot {
namespace {

using nlohmann::ordered_json;

constexpr size_t kMaxNames = 8192;
constexpr size_t kMaxNameBytes = 256;
constexpr size_t kMaxPatternKeys = 8192;
// A pattern's key that is no plain name costs the regex engine once per module.
constexpr size_t kMaxPatternRegexes = 64;
constexpr size_t kMaxLayerPatterns = 16;
constexpr size_t kMaxUnknownKeys = 64;
constexpr int64_t kMaxLayerIndex = 1 << 20;
// Per match. A regex over whole module paths may list every layer by name.
constexpr uint32_t kTargetSteps = 200'000;
constexpr uint32_t kPatternSteps = 10'000;

template <typename... Args>
absl::Status FieldError(absl::string_view key, const Args&... args) {
  return absl::InvalidArgumentError(
      absl::StrCat("adapter_config.json: field \"", key, "\" ", args...));
}

absl::Status InConfig(const absl::Status& status) {
  return absl::Status(status.code(),
                      absl::StrCat("adapter_config.json: ", status.message()));
}

// True if `path` is `name` or ends with "." and `name`.
bool IsNameOrSuffix(absl::string_view path, absl::string_view name) {
  if (!absl::EndsWith(path, name)) {
    return false;
  }
  return path.size() == name.size() ||
         path[path.size() - name.size() - 1] == '.';
}

// True if `key` as a regex matches only by its characters and dots.
bool IsLiteralOrDots(absl::string_view key) {
  return std::all_of(key.begin(), key.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' ||
           c == '.';
  });
}

// re.match(rf"(.*\.)?({key})$", path) for such a key, whose dots match any
// character.
bool MatchesLiteralOrDots(absl::string_view path, absl::string_view key) {
  if (path.size() < key.size()) {
    return false;
  }
  const absl::string_view tail = path.substr(path.size() - key.size());
  for (size_t i = 0; i < key.size(); ++i) {
    if (key[i] != '.' && key[i] != tail[i]) {
      return false;
    }
  }
  return path.size() == key.size() || path[path.size() - key.size() - 1] == '.';
}

absl::StatusOr<Regex> CompileField(absl::string_view key,
                                   absl::string_view pattern,
                                   uint32_t max_steps) {
  absl::StatusOr<Regex> regex = Regex::Compile(pattern, max_steps);
  if (!regex.ok()) {
    return FieldError(key, "holds a ", regex.status().message());
  }
  return regex;
}

// What the file says about itself when it is not PEFT's.
absl::Status CheckIsPeft(const ordered_json& root) {
  if (!root.is_object()) {
    return absl::InvalidArgumentError(
        "adapter_config.json: the document must be a JSON object");
  }
  if (FindNonNull(root, "peft_type") != nullptr) {
    return absl::OkStatus();
  }
  const bool is_mlx = FindNonNull(root, "lora_parameters") != nullptr ||
                      FindNonNull(root, "fine_tune_type") != nullptr;
  return absl::InvalidArgumentError(absl::StrCat(
      "adapter_config.json: field \"peft_type\" is missing, so this is not a "
      "PEFT adapter",
      is_mlx ? "; it looks like one of MLX: convert its weights and config to "
               "PEFT's form first"
             : "; save it with PEFT's save_pretrained"));
}

constexpr char kLayers[] = "layers_to_transform";
constexpr char kLayersPattern[] = "layers_pattern";

// Reads the value of `name` in the pattern `key`.
absl::StatusOr<double> ReadPatternNumber(absl::string_view key,
                                         absl::string_view name,
                                         const ordered_json& value,
                                         double max_value, bool integers_only) {
  const bool is_number =
      integers_only ? value.is_number_integer() : value.is_number();
  const double number = is_number ? value.get<double>() : NAN;
  const double min_value = integers_only ? 1 : -max_value;
  if (!(number >= min_value && number <= max_value)) {
    return FieldError(key, "must map ", Quoted(name), " to ",
                      integers_only ? "an integer" : "a number", " in [",
                      min_value, ", ", max_value, "]");
  }
  return number;
}

absl::StatusOr<std::vector<int64_t>> ReadLayerIndices(
    const ordered_json& layers) {
  std::vector<int64_t> indices;
  for (const ordered_json& layer :
       layers.is_array() ? layers : ordered_json::array({layers})) {
    if (!layer.is_number_unsigned() ||
        layer.get<uint64_t>() > static_cast<uint64_t>(kMaxLayerIndex)) {
      return FieldError(kLayers, "must be a layer's index or a list of them");
    }
    indices.push_back(layer.get<int64_t>());
  }
  return indices;
}

absl::StatusOr<std::vector<Regex>> ReadLayerPatterns(
    const ordered_json& pattern) {
  std::vector<Regex> regexes;
  // PEFT takes an empty pattern for none.
  if (pattern.is_string() && pattern.get_ref<const std::string&>().empty()) {
    return regexes;
  }
  const ordered_json names =
      pattern.is_array() ? pattern : ordered_json::array({pattern});
  if (names.size() > kMaxLayerPatterns) {
    return FieldError(kLayersPattern, "has more than ", kMaxLayerPatterns,
                      " patterns");
  }
  for (const ordered_json& name : names) {
    if (!name.is_string()) {
      return FieldError(kLayersPattern,
                        "must be a string or a list of strings");
    }
    ASSIGN_OR_RETURN(
        Regex regex,
        CompileField(kLayersPattern,
                     absl::StrCat("(?:^|.*?\\.)", name.get<std::string>(),
                                  "\\.(?P<idx>\\d+)\\."),
                     kTargetSteps));
    regexes.push_back(std::move(regex));
  }
  return regexes;
}

}  // namespace

absl::StatusOr<AdapterConfig> AdapterConfig::Parse(absl::string_view text) {
  absl::StatusOr<ordered_json> root =
      ParseOrderedJson(text, {.max_bytes = kMaxFileBytes, .max_depth = 16});
  if (!root.ok()) {
    return InConfig(root.status());
  }
  RETURN_IF_ERROR(CheckIsPeft(*root));
  if (absl::Status status = RefuseUnsupported(*root); !status.ok()) {
    return InConfig(status);
  }
  AdapterConfig config;
  absl::StatusOr<AdapterKindOptions> kind_options = ReadKindOptions(*root);
  if (!kind_options.ok()) {
    return InConfig(kind_options.status());
  }
  config.kind_options_ = *kind_options;
  absl::StatusOr<EndOptions> end_options = ReadEndOptions(*root);
  if (!end_options.ok()) {
    return InConfig(end_options.status());
  }
  config.end_options_ = *std::move(end_options);
  if (absl::Status status = config.ReadScalars(*root); !status.ok()) {
    return InConfig(status);
  }
  ASSIGN_OR_RETURN(config.targets_, ReadModuleSet(*root, "target_modules"));
  ASSIGN_OR_RETURN(config.excludes_, ReadModuleSet(*root, "exclude_modules"));
  // Trained tokens are the input embedding's unless the file says otherwise.
  if (config.targets_.names.empty() &&
      config.kind() != AdapterKind::kTrainableTokens) {
    return FieldError("target_modules",
                      "is empty; it must name the adapted modules, as PEFT "
                      "writes them when it saves an adapter");
  }
  // AdaLoRA's is the list of the ranks that were kept; its tensors tell.
  if (config.kind() != AdapterKind::kAdaLora) {
    ASSIGN_OR_RETURN(config.rank_pattern_,
                     ReadPattern(*root, "rank_pattern", kMaxRank,
                                 /*integers_only=*/true));
  }
  ASSIGN_OR_RETURN(config.alpha_pattern_,
                   ReadPattern(*root, "alpha_pattern", kMaxAlpha,
                               /*integers_only=*/false));
  RETURN_IF_ERROR(config.ReadLayerFilter(*root));
  for (const auto& [key, value] : root->items()) {
    if (!IsKnownPeftKey(key) && config.unknown_keys_.size() < kMaxUnknownKeys) {
      config.unknown_keys_.push_back(key);
    }
  }
  return config;
}

absl::Status AdapterConfig::ReadStrength(const ordered_json& root) {
  const bool is_ada = kind() == AdapterKind::kAdaLora;
  const bool is_lora = kind() == AdapterKind::kLora || is_ada;
  const bool is_lycoris =
      kind() == AdapterKind::kLoha || kind() == AdapterKind::kLokr;
  if (kind() != AdapterKind::kFourierFt && kind() != AdapterKind::kIa3 &&
      kind() != AdapterKind::kTrainableTokens) {
    ASSIGN_OR_RETURN(r_, GetInt(root, is_ada ? "init_r" : "r", 1, kMaxRank));
  }
  if (is_lora || is_lycoris) {
    ASSIGN_OR_RETURN(lora_alpha_,
                     GetDouble(root, is_lora ? "lora_alpha" : "alpha",
                               -kMaxAlpha, kMaxAlpha));
  }
  return absl::OkStatus();
}

absl::Status AdapterConfig::ReadScalars(const ordered_json& root) {
  RETURN_IF_ERROR(ReadStrength(root));
  ASSIGN_OR_RETURN(use_rslora_, GetBoolOr(root, "use_rslora", false));
  ASSIGN_OR_RETURN(fan_in_fan_out_, GetBoolOr(root, "fan_in_fan_out", false));
  ASSIGN_OR_RETURN(base_model_,
                   GetStringOr(root, "base_model_name_or_path", ""));
  ASSIGN_OR_RETURN(task_type_, GetStringOr(root, "task_type", ""));
  return absl::OkStatus();
}

absl::StatusOr<AdapterConfig::ModuleSet> AdapterConfig::ReadModuleSet(
    const ordered_json& root, const char* key) {
  ModuleSet set;
  const ordered_json* value = FindNonNull(root, key);
  if (value == nullptr) {
    return set;
  }
  if (value->is_string()) {
    const std::string& text = value->get_ref<const std::string&>();
    if (text.empty()) {
      return set;
    }
    set.names.push_back(text);
    set.is_all_linear = absl::AsciiStrToLower(text) == "all-linear";
    if (!set.is_all_linear) {
      ASSIGN_OR_RETURN(set.regex, CompileField(key, text, kTargetSteps));
    }
    return set;
  }
  if (!value->is_array()) {
    return FieldError(key, "must be a list of names or one regex, got ",
                      value->type_name());
  }
  if (value->size() > kMaxNames) {
    return FieldError(key, "has ", value->size(), " names; at most ", kMaxNames,
                      " are allowed");
  }
  for (const ordered_json& name : *value) {
    if (!name.is_string() || name.get_ref<const std::string&>().empty() ||
        name.get_ref<const std::string&>().size() > kMaxNameBytes) {
      return FieldError(key, "must hold names of 1 to ", kMaxNameBytes,
                        " bytes");
    }
    set.names.push_back(name.get<std::string>());
  }
  return set;
}

absl::StatusOr<std::vector<AdapterConfig::PatternValue>>
AdapterConfig::ReadPattern(const ordered_json& root, const char* key,
                           double max_value, bool integers_only) {
  std::vector<PatternValue> pattern;
  const ordered_json* object = FindNonNull(root, key);
  if (object == nullptr) {
    return pattern;
  }
  if (!object->is_object() || object->size() > kMaxPatternKeys) {
    return FieldError(key, "must be an object of at most ", kMaxPatternKeys,
                      " keys");
  }
  size_t num_regexes = 0;
  for (const auto& [name, value] : object->items()) {
    PatternValue entry;
    entry.key = name;
    ASSIGN_OR_RETURN(entry.value, ReadPatternNumber(key, name, value, max_value,
                                                    integers_only));
    if (!IsLiteralOrDots(name)) {
      if (++num_regexes > kMaxPatternRegexes) {
        return FieldError(key, "has more than ", kMaxPatternRegexes,
                          " keys that are regexes");
      }
      ASSIGN_OR_RETURN(entry.regex,
                       CompileField(key, absl::StrCat("(.*\\.)?(", name, ")$"),
                                    kPatternSteps));
    }
    pattern.push_back(std::move(entry));
  }
  return pattern;
}

absl::Status AdapterConfig::ReadLayerFilter(const ordered_json& root) {
  const ordered_json* layers = FindNonNull(root, kLayers);
  const ordered_json* pattern = FindNonNull(root, kLayersPattern);
  const bool is_string = targets_.regex.has_value() || targets_.is_all_linear;
  if (is_string && (layers != nullptr || pattern != nullptr)) {
    return FieldError(layers != nullptr ? kLayers : kLayersPattern,
                      "cannot stand beside a \"target_modules\" that is a "
                      "string");
  }
  if (layers != nullptr) {
    ASSIGN_OR_RETURN(layers_to_transform_, ReadLayerIndices(*layers));
  }
  if (pattern != nullptr) {
    ASSIGN_OR_RETURN(layer_regexes_, ReadLayerPatterns(*pattern));
  }
  if (layer_regexes_.empty() && !layers_to_transform_.empty()) {
    ASSIGN_OR_RETURN(
        Regex regex,
        Regex::Compile(R"(.*?\.[^.]*\.(?P<idx>\d+)\.)", kTargetSteps));
    layer_regexes_.push_back(std::move(regex));
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> AdapterConfig::Matches(const ModuleSet& set,
                                            absl::string_view module_path) {
  if (set.regex.has_value()) {
    return set.regex->FullMatch(module_path);
  }
  return std::any_of(set.names.begin(), set.names.end(),
                     [&](absl::string_view name) {
                       return IsNameOrSuffix(module_path, name);
                     });
}

absl::StatusOr<bool> AdapterConfig::PassesLayerFilter(
    absl::string_view module_path) const {
  if (layers_to_transform_.empty()) {
    return true;
  }
  for (const Regex& regex : layer_regexes_) {
    std::string text;
    ASSIGN_OR_RETURN(const bool found,
                     regex.PrefixMatch(module_path, "idx", &text));
    if (!found) {
      continue;
    }
    int64_t layer = -1;
    return absl::SimpleAtoi(text, &layer) &&
           std::find(layers_to_transform_.begin(), layers_to_transform_.end(),
                     layer) != layers_to_transform_.end();
  }
  return false;
}

absl::StatusOr<bool> AdapterConfig::Targets(absl::string_view module_path,
                                            bool is_end) const {
  ASSIGN_OR_RETURN(const bool is_excluded, Matches(excludes_, module_path));
  if (is_excluded) {
    return false;
  }
  if (targets_.is_all_linear) {
    return !is_end;
  }
  ASSIGN_OR_RETURN(const bool is_target, Matches(targets_, module_path));
  // PEFT's layer filter applies to suffixes, not to regexes or whole paths.
  if (!is_target || targets_.regex.has_value() ||
      std::find(targets_.names.begin(), targets_.names.end(), module_path) !=
          targets_.names.end()) {
    return is_target;
  }
  return PassesLayerFilter(module_path);
}

absl::StatusOr<double> AdapterConfig::Lookup(
    const std::vector<PatternValue>& pattern, absl::string_view module_path,
    double fallback) {
  for (const PatternValue& entry : pattern) {
    bool matches = false;
    if (entry.regex.has_value()) {
      ASSIGN_OR_RETURN(matches, entry.regex->PrefixMatch(module_path));
    } else {
      matches = MatchesLiteralOrDots(module_path, entry.key);
    }
    if (matches) {
      return entry.value;
    }
  }
  return fallback;
}

absl::StatusOr<int64_t> AdapterConfig::Rank(
    absl::string_view module_path) const {
  ASSIGN_OR_RETURN(const double rank,
                   Lookup(rank_pattern_, module_path, static_cast<double>(r_)));
  return static_cast<int64_t>(rank);
}

absl::Status AdapterConfig::CheckRank(absl::string_view module_path,
                                      int64_t tensor_rank) const {
  if (kind() == AdapterKind::kFourierFt || kind() == AdapterKind::kIa3) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const int64_t rank, Rank(module_path));
  const bool fits = kind() == AdapterKind::kAdaLora ? tensor_rank <= rank
                                                    : tensor_rank == rank;
  if (fits) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "module ", Quoted(module_path), ": the tensors have rank ", tensor_rank,
      ", adapter_config.json says ", rank,
      kind() == AdapterKind::kAdaLora ? " at most (\"init_r\")"
                                      : " (\"r\" and \"rank_pattern\")",
      "; weights and config must be of one adapter"));
}

absl::StatusOr<double> AdapterConfig::Scaling(absl::string_view module_path,
                                              int64_t tensor_rank) const {
  RETURN_IF_ERROR(CheckRank(module_path, tensor_rank));
  double scaling = 1;
  switch (kind()) {
    case AdapterKind::kLora:
    case AdapterKind::kLoha:
    case AdapterKind::kLokr: {
      ASSIGN_OR_RETURN(const double alpha,
                       Lookup(alpha_pattern_, module_path, lora_alpha_));
      const double r = static_cast<double>(tensor_rank);
      scaling = use_rslora_ ? alpha / std::sqrt(r) : alpha / r;
      break;
    }
    case AdapterKind::kAdaLora: {
      // PEFT divides so (tuners/adalora/layer.py).
      const double r = static_cast<double>(r_);
      scaling = (lora_alpha_ > 0 ? lora_alpha_ : r) / (r + 1e-5);
      break;
    }
    case AdapterKind::kFourierFt:
      return kind_options_.spectrum_scaling;
    default:
      break;
  }
  if (std::abs(scaling) > kMaxScaling) {
    return absl::InvalidArgumentError(absl::StrCat(
        "module ", Quoted(module_path), ": its alpha at rank ", tensor_rank,
        " scales by ", scaling, "; at most ", kMaxScaling, " is allowed"));
  }
  return scaling;
}

}  // namespace stockpot
