// ModelConfig is what a base model's config.json and generation_config.json
// say, as far as the supported networks depend on it.
//
// Plain values, fully checked: a ModelConfig from Parse or Load needs no second
// look. A setting that would change the network and is not supported is an
// error that names it, never ignored.

#ifndef STOCKPOT_FORMATS_MODEL_CONFIG_H_
#define STOCKPOT_FORMATS_MODEL_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stockpot {

enum class Architecture { kLlama, kGpt2 };

enum class Activation {
  kSilu,
  // gelu_new, gelu_pytorch_tanh, gelu_fast:
  // 0.5x(1+tanh(sqrt(2/pi)(x+.044715x^3)))
  kGeluTanh,
  // gelu: 0.5x(1+erf(x/sqrt(2)))
  kGeluErf,
  kRelu,
};

struct RopeScaling {
  enum class Kind { kNone, kLinear, kLlama3 };
  Kind kind = Kind::kNone;
  // kLinear and kLlama3: positions (or low frequencies) are divided by it.
  double factor = 1.0;
  // kLlama3 only.
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  int64_t original_max_positions = 0;
};

// What generation_config.json asks for where a request is silent.
struct SamplingDefaults {
  std::optional<bool> do_sample;
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::optional<int64_t> top_k;
  std::optional<double> repetition_penalty;
};

struct ModelConfig {
  Architecture architecture = Architecture::kLlama;

  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  // Divides num_heads. Equal to num_heads for GPT-2.
  int64_t num_kv_heads = 0;
  // hidden_size / num_heads unless a Llama file states it.
  int64_t head_dim = 0;
  int64_t vocab_size = 0;
  // The longest context that the model was made for, in tokens.
  int64_t max_positions = 0;
  // Of RMSNorm (Llama) or LayerNorm (GPT-2).
  double norm_eps = 0;
  // The output head is the token embedding.
  bool tie_embeddings = false;
  // Llama only: biases of q, k, v, o and of gate, up, down. GPT-2 always has
  // biases and says true for both.
  bool attention_bias = false;
  bool mlp_bias = false;
  Activation activation = Activation::kSilu;

  // Llama only.
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;

  // The dtype of the stored weights as written, e.g. "bfloat16"; empty when the
  // file does not say.
  std::string torch_dtype;

  std::optional<int64_t> bos_token_id;
  // Each ends a generation. generation_config.json wins over config.json.
  std::vector<int64_t> eos_token_ids;
  std::optional<int64_t> pad_token_id;

  SamplingDefaults sampling;

  // Parses config.json's text and generation_config.json's, which may be empty
  // when there is no such file. Understands both the older keys (torch_dtype,
  // rope_theta, rope_scaling) and those of transformers 5 (dtype,
  // rope_parameters).
  //
  // Errors: InvalidArgument for broken JSON and for a number out of bounds;
  // Unimplemented for another architecture, quantised weights, another rope
  // type, and every other setting that we would have to build first.
  static absl::StatusOr<ModelConfig> Parse(
      absl::string_view config_json, absl::string_view generation_config_json);

  // Parses config.json and generation_config.json (optional) in `dir`.
  // Errors: as Parse; NotFound without config.json.
  static absl::StatusOr<ModelConfig> Load(const std::string& dir);
};

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_MODEL_CONFIG_H_
