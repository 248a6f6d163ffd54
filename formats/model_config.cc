#include "formats/model_config.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "base/status_macros.h"
#include "formats/json.h"
#include "formats/mapped_file.h"
#include "formats/quoted.h"

namespace stockpot {
namespace {

using nlohmann::json;

constexpr size_t kMaxConfigBytes = 1 << 20;
constexpr int64_t kMaxHidden = 65536;
constexpr int64_t kMaxIntermediate = 1 << 20;
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxHeads = 1024;
constexpr int64_t kMaxHeadDim = 1024;
constexpr int64_t kMaxVocab = 1 << 20;
constexpr int64_t kMaxPositions = 1 << 24;
constexpr int64_t kMaxTokenId = INT32_MAX;
constexpr size_t kMaxEosTokens = 64;

absl::Status Unsupported(absl::string_view field, absl::string_view value,
                         absl::string_view supported) {
  return absl::UnimplementedError(absl::StrCat(
      "field \"", field, "\": ", value, " is not supported; ", supported));
}

// Refuses a boolean field that is not `expected`.
absl::Status RequireBool(const json& root, absl::string_view key,
                         bool expected) {
  ASSIGN_OR_RETURN(const bool value, GetBoolOr(root, key, expected));
  if (value != expected) {
    return Unsupported(key, value ? "true" : "false",
                       expected ? "it must be true" : "it must be false");
  }
  return absl::OkStatus();
}

absl::StatusOr<Architecture> ReadArchitecture(const json& root) {
  constexpr absl::string_view kSupported =
      "supported are LlamaForCausalLM and GPT2LMHeadModel";
  const json* architectures = FindNonNull(root, "architectures");
  if (architectures != nullptr) {
    if (!architectures->is_array() || architectures->size() != 1 ||
        !(*architectures)[0].is_string()) {
      return absl::InvalidArgumentError(
          "field \"architectures\" must be an array of one string");
    }
    const std::string name = (*architectures)[0].get<std::string>();
    if (name == "LlamaForCausalLM") {
      return Architecture::kLlama;
    }
    if (name == "GPT2LMHeadModel") {
      return Architecture::kGpt2;
    }
    return Unsupported("architectures", Quoted(name), kSupported);
  }
  ASSIGN_OR_RETURN(const std::string model_type, GetString(root, "model_type"));
  if (model_type == "llama") {
    return Architecture::kLlama;
  }
  if (model_type == "gpt2") {
    return Architecture::kGpt2;
  }
  return Unsupported("model_type", Quoted(model_type), kSupported);
}

absl::StatusOr<Activation> ReadActivation(const json& root,
                                          Architecture architecture) {
  if (architecture == Architecture::kLlama) {
    ASSIGN_OR_RETURN(const std::string name,
                     GetStringOr(root, "hidden_act", "silu"));
    if (name == "silu" || name == "swish") {
      return Activation::kSilu;
    }
    return Unsupported("hidden_act", Quoted(name), "supported is silu");
  }
  ASSIGN_OR_RETURN(const std::string name,
                   GetStringOr(root, "activation_function", "gelu_new"));
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" ||
      name == "gelu_fast") {
    return Activation::kGeluTanh;
  }
  if (name == "gelu") {
    return Activation::kGeluErf;
  }
  if (name == "relu") {
    return Activation::kRelu;
  }
  return Unsupported(
      "activation_function", Quoted(name),
      "supported are gelu_new, gelu_pytorch_tanh, gelu_fast, gelu and relu");
}

// Reads rope_parameters (transformers 5) or rope_scaling, `rope`, which stands
// under `where`.
absl::Status ReadRopeScaling(const json& rope, absl::string_view where,
                             ModelConfig* config) {
  ASSIGN_OR_RETURN(std::optional<std::string> type,
                   GetOptionalString(rope, "rope_type", where));
  if (!type.has_value()) {
    // The key's name up to transformers 4.44.
    ASSIGN_OR_RETURN(type, GetOptionalString(rope, "type", where));
  }
  ASSIGN_OR_RETURN(const double rotated,
                   GetDoubleOr(rope, "partial_rotary_factor", 1, 0, 1, where));
  if (rotated != 1) {
    return Unsupported(absl::StrCat(where, ".partial_rotary_factor"),
                       absl::StrCat(rotated), "it must be 1");
  }
  const std::string kind = type.value_or("default");
  RopeScaling& scaling = config->rope_scaling;
  if (kind == "default") {
    return absl::OkStatus();
  }
  if (kind != "linear" && kind != "llama3") {
    return Unsupported(absl::StrCat(where, ".rope_type"), Quoted(kind),
                       "supported are default, linear and llama3");
  }
  ASSIGN_OR_RETURN(scaling.factor, GetDouble(rope, "factor", 1, 1e6, where));
  if (kind == "linear") {
    scaling.kind = RopeScaling::Kind::kLinear;
    return absl::OkStatus();
  }
  scaling.kind = RopeScaling::Kind::kLlama3;
  ASSIGN_OR_RETURN(scaling.low_freq_factor,
                   GetDouble(rope, "low_freq_factor", 1e-3, 1e6, where));
  ASSIGN_OR_RETURN(scaling.high_freq_factor,
                   GetDouble(rope, "high_freq_factor", 1e-3, 1e6, where));
  ASSIGN_OR_RETURN(scaling.original_max_positions,
                   GetInt(rope, "original_max_position_embeddings", 1,
                          kMaxPositions, where));
  if (scaling.low_freq_factor >= scaling.high_freq_factor) {
    return absl::InvalidArgumentError(absl::StrCat(
        "field \"", where, "\": low_freq_factor (", scaling.low_freq_factor,
        ") must be below high_freq_factor (", scaling.high_freq_factor, ")"));
  }
  return absl::OkStatus();
}

absl::Status ReadRope(const json& root, ModelConfig* config) {
  constexpr double kMinTheta = 1;
  constexpr double kMaxTheta = 1e12;
  ASSIGN_OR_RETURN(config->rope_theta, GetDoubleOr(root, "rope_theta", 10000.0,
                                                   kMinTheta, kMaxTheta));
  if (const json* rope = FindNonNull(root, "rope_parameters")) {
    constexpr absl::string_view kWhere = "rope_parameters";
    ASSIGN_OR_RETURN(config->rope_theta,
                     GetDoubleOr(*rope, "rope_theta", config->rope_theta,
                                 kMinTheta, kMaxTheta, kWhere));
    return ReadRopeScaling(*rope, kWhere, config);
  }
  if (const json* rope = FindNonNull(root, "rope_scaling")) {
    return ReadRopeScaling(*rope, "rope_scaling", config);
  }
  return absl::OkStatus();
}

absl::Status ReadHeadDim(const json& root, ModelConfig* config) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> stated,
                   GetOptionalInt(root, "head_dim", 1, kMaxHeadDim));
  if (!stated.has_value() && config->hidden_size % config->num_heads != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("field \"hidden_size\" (", config->hidden_size,
                     ") is not a multiple of \"num_attention_heads\" (",
                     config->num_heads, ")"));
  }
  config->head_dim = stated.value_or(config->hidden_size / config->num_heads);
  if (config->head_dim > kMaxHeadDim || config->head_dim % 2 != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the head dimension must be even, for rotary positions, and at most ",
        kMaxHeadDim, ", got ", config->head_dim));
  }
  return absl::OkStatus();
}

absl::Status ReadLlama(const json& root, ModelConfig* config) {
  ASSIGN_OR_RETURN(config->hidden_size,
                   GetInt(root, "hidden_size", 1, kMaxHidden));
  ASSIGN_OR_RETURN(config->intermediate_size,
                   GetInt(root, "intermediate_size", 1, kMaxIntermediate));
  ASSIGN_OR_RETURN(config->num_layers,
                   GetInt(root, "num_hidden_layers", 1, kMaxLayers));
  ASSIGN_OR_RETURN(config->num_heads,
                   GetInt(root, "num_attention_heads", 1, kMaxHeads));
  ASSIGN_OR_RETURN(config->num_kv_heads,
                   GetIntOr(root, "num_key_value_heads", config->num_heads, 1,
                            config->num_heads));
  if (config->num_heads % config->num_kv_heads != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("field \"num_attention_heads\" (", config->num_heads,
                     ") is not a multiple of \"num_key_value_heads\" (",
                     config->num_kv_heads, ")"));
  }
  RETURN_IF_ERROR(ReadHeadDim(root, config));
  ASSIGN_OR_RETURN(config->max_positions,
                   GetInt(root, "max_position_embeddings", 1, kMaxPositions));
  ASSIGN_OR_RETURN(config->norm_eps,
                   GetDoubleOr(root, "rms_norm_eps", 1e-6, 0, 1));
  ASSIGN_OR_RETURN(config->tie_embeddings,
                   GetBoolOr(root, "tie_word_embeddings", false));
  ASSIGN_OR_RETURN(config->attention_bias,
                   GetBoolOr(root, "attention_bias", false));
  ASSIGN_OR_RETURN(config->mlp_bias, GetBoolOr(root, "mlp_bias", false));
  ASSIGN_OR_RETURN(const int64_t pretraining_tp,
                   GetIntOr(root, "pretraining_tp", 1, 0, INT32_MAX));
  if (pretraining_tp > 1) {
    return Unsupported("pretraining_tp", absl::StrCat(pretraining_tp),
                       "it must be 1");
  }
  return ReadRope(root, config);
}

absl::Status ReadGpt2(const json& root, ModelConfig* config) {
  ASSIGN_OR_RETURN(config->hidden_size, GetInt(root, "n_embd", 1, kMaxHidden));
  ASSIGN_OR_RETURN(
      config->intermediate_size,
      GetIntOr(root, "n_inner", 4 * config->hidden_size, 1, kMaxIntermediate));
  ASSIGN_OR_RETURN(config->num_layers, GetInt(root, "n_layer", 1, kMaxLayers));
  ASSIGN_OR_RETURN(config->num_heads, GetInt(root, "n_head", 1, kMaxHeads));
  if (config->hidden_size % config->num_heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "field \"n_embd\" (", config->hidden_size,
        ") is not a multiple of \"n_head\" (", config->num_heads, ")"));
  }
  config->num_kv_heads = config->num_heads;
  config->head_dim = config->hidden_size / config->num_heads;
  if (config->head_dim > kMaxHeadDim) {
    return absl::InvalidArgumentError(
        absl::StrCat("the head dimension must be at most ", kMaxHeadDim,
                     ", got ", config->head_dim));
  }
  ASSIGN_OR_RETURN(config->max_positions,
                   GetInt(root, "n_positions", 1, kMaxPositions));
  ASSIGN_OR_RETURN(config->norm_eps,
                   GetDoubleOr(root, "layer_norm_epsilon", 1e-5, 0, 1));
  ASSIGN_OR_RETURN(config->tie_embeddings,
                   GetBoolOr(root, "tie_word_embeddings", true));
  config->attention_bias = true;
  config->mlp_bias = true;
  RETURN_IF_ERROR(RequireBool(root, "scale_attn_weights", true));
  RETURN_IF_ERROR(RequireBool(root, "scale_attn_by_inverse_layer_idx", false));
  RETURN_IF_ERROR(RequireBool(root, "reorder_and_upcast_attn", false));
  return RequireBool(root, "add_cross_attention", false);
}

// Reads an id; one that is negative (an old way to say none) or beyond the
// vocabulary can never occur and reads as absent.
absl::StatusOr<std::optional<int64_t>> ReadTokenId(const json& root,
                                                   absl::string_view key,
                                                   int64_t vocab_size) {
  ASSIGN_OR_RETURN(std::optional<int64_t> id,
                   GetOptionalInt(root, key, INT32_MIN, kMaxTokenId));
  if (id.has_value() && (*id < 0 || *id >= vocab_size)) {
    id.reset();
  }
  return id;
}

// Reads "eos_token_id", one id or a list, over what `config` has; keeps that
// when the field is absent.
absl::Status ReadEos(const json& root, ModelConfig* config) {
  const json* value = FindNonNull(root, "eos_token_id");
  if (value == nullptr) {
    return absl::OkStatus();
  }
  const json ids = value->is_array() ? *value : json::array({*value});
  if (ids.size() > kMaxEosTokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("field \"eos_token_id\" has ", ids.size(),
                     " ids; at most ", kMaxEosTokens, " are allowed"));
  }
  config->eos_token_ids.clear();
  for (const json& id : ids) {
    const json wrapped = {{"eos_token_id", id}};
    ASSIGN_OR_RETURN(const std::optional<int64_t> number,
                     ReadTokenId(wrapped, "eos_token_id", config->vocab_size));
    if (number.has_value() &&
        std::find(config->eos_token_ids.begin(), config->eos_token_ids.end(),
                  *number) == config->eos_token_ids.end()) {
      config->eos_token_ids.push_back(*number);
    }
  }
  return absl::OkStatus();
}

absl::Status ReadSpecialTokens(const json& root, ModelConfig* config) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> bos,
                   ReadTokenId(root, "bos_token_id", config->vocab_size));
  ASSIGN_OR_RETURN(const std::optional<int64_t> pad,
                   ReadTokenId(root, "pad_token_id", config->vocab_size));
  if (bos.has_value()) {
    config->bos_token_id = bos;
  }
  if (pad.has_value()) {
    config->pad_token_id = pad;
  }
  return ReadEos(root, config);
}

absl::Status ReadSampling(const json& root, SamplingDefaults* sampling) {
  ASSIGN_OR_RETURN(sampling->do_sample, GetOptionalBool(root, "do_sample"));
  ASSIGN_OR_RETURN(sampling->temperature,
                   GetOptionalDouble(root, "temperature", 0, 100));
  ASSIGN_OR_RETURN(sampling->top_p, GetOptionalDouble(root, "top_p", 0, 1));
  ASSIGN_OR_RETURN(sampling->top_k,
                   GetOptionalInt(root, "top_k", 0, kMaxVocab));
  ASSIGN_OR_RETURN(sampling->repetition_penalty,
                   GetOptionalDouble(root, "repetition_penalty", 1e-3, 1e3));
  return absl::OkStatus();
}

absl::Status ReadConfig(const json& root, ModelConfig* config) {
  ASSIGN_OR_RETURN(config->architecture, ReadArchitecture(root));
  for (const char* key : {"quantization_config", "compression_config"}) {
    if (FindNonNull(root, key) != nullptr) {
      return Unsupported(key, "a quantised base model",
                         "use the unquantised weights");
    }
  }
  ASSIGN_OR_RETURN(config->vocab_size,
                   GetInt(root, "vocab_size", 1, kMaxVocab));
  ASSIGN_OR_RETURN(config->activation,
                   ReadActivation(root, config->architecture));
  RETURN_IF_ERROR(config->architecture == Architecture::kLlama
                      ? ReadLlama(root, config)
                      : ReadGpt2(root, config));
  // The key's name since transformers 4.56, then the one before.
  ASSIGN_OR_RETURN(const std::string torch_dtype,
                   GetStringOr(root, "torch_dtype", ""));
  ASSIGN_OR_RETURN(config->torch_dtype,
                   GetStringOr(root, "dtype", torch_dtype));
  return ReadSpecialTokens(root, config);
}

absl::Status InFile(const absl::Status& status, absl::string_view file_name) {
  return absl::Status(status.code(),
                      absl::StrCat(file_name, ": ", status.message()));
}

}  // namespace

absl::StatusOr<ModelConfig> ModelConfig::Parse(
    absl::string_view config_json, absl::string_view generation_config_json) {
  const JsonLimits limits = {.max_bytes = kMaxConfigBytes, .max_depth = 16};
  ModelConfig config;
  const absl::StatusOr<json> root = ParseJson(config_json, limits);
  if (!root.ok()) {
    return InFile(root.status(), "config.json");
  }
  if (absl::Status status = ReadConfig(*root, &config); !status.ok()) {
    return InFile(status, "config.json");
  }
  if (generation_config_json.empty()) {
    return config;
  }
  const absl::StatusOr<json> generation =
      ParseJson(generation_config_json, limits);
  if (!generation.ok()) {
    return InFile(generation.status(), "generation_config.json");
  }
  absl::Status status = ReadSpecialTokens(*generation, &config);
  if (status.ok()) {
    status = ReadSampling(*generation, &config.sampling);
  }
  if (!status.ok()) {
    return InFile(status, "generation_config.json");
  }
  return config;
}

absl::StatusOr<ModelConfig> ModelConfig::Load(const std::string& dir) {
  ASSIGN_OR_RETURN(const std::string config,
                   ReadFile(dir + "/config.json", kMaxConfigBytes));
  absl::StatusOr<std::string> generation =
      ReadFile(dir + "/generation_config.json", kMaxConfigBytes);
  if (!generation.ok() && !absl::IsNotFound(generation.status())) {
    return generation.status();
  }
  return Parse(config, generation.ok() ? *generation : "");
}

}  // namespace stockpot
