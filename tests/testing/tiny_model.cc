#include "tests/testing/tiny_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace stockpot::testing {

namespace {

using nlohmann::ordered_json;

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "tests/testing: %s\n", what.c_str());
  std::abort();
}

uint64_t Fnv1a64(absl::string_view text) {
  uint64_t h = 0xcbf29ce484222325ULL;
  for (const char c : text) {
    h = (h ^ static_cast<uint8_t>(c)) * 0x100000001b3ULL;
  }
  return h;
}

uint64_t SplitMix64(uint64_t start, uint64_t index) {
  uint64_t z = start + (index + 1) * 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

float AmplitudeOf(absl::string_view name) {
  if (absl::StrContains(name, "lora_")) {
    return 0.2f;
  }
  if (absl::StrContains(name, "hada_") || absl::StrContains(name, "vera_")) {
    return 0.6f;
  }
  if (absl::EndsWith(name, ".bias")) {
    return 0.1f;
  }
  if (absl::StrContains(name, "embed_tokens") ||
      absl::StrContains(name, "lm_head") || absl::StrContains(name, "wte")) {
    return 0.3f;
  }
  return absl::StrContains(name, "wpe") ? 0.1f : 0.15f;
}

bool IsNormWeight(absl::string_view name) {
  for (const char* end :
       {"norm.weight", "ln_1.weight", "ln_2.weight", "ln_f.weight"}) {
    if (absl::EndsWith(name, end)) {
      return true;
    }
  }
  return false;
}

int64_t NumElements(const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (const int64_t size : shape) {
    n *= size;
  }
  return n;
}

uint16_t ToBf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if (std::isnan(x)) {
    return 0x7fc0;
  }
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

uint16_t ToF16(float x) {
  const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  const float size = std::abs(x);
  if (std::isnan(x)) {
    return 0x7e00;
  }
  if (size >= 65520.0f) {  // Rounds beyond the largest, 65504.
    return sign | 0x7c00;
  }
  int exponent = 0;
  std::frexp(size, &exponent);  // size = f * 2^exponent, f in [0.5, 1)
  // Step between neighbours: 2^-24 for subnormals, else 11 significant bits.
  const int step = std::max(exponent - 11, -24);
  const auto units = static_cast<uint32_t>(
      std::nearbyint(std::ldexp(static_cast<double>(size), -step)));
  // Units count from the bottom of the binade; a carry moves into the exponent.
  return static_cast<uint16_t>(
      sign | ((static_cast<uint32_t>(step + 24) << 10) + units));
}

std::vector<TinyTensor> LlamaTensors(const ordered_json& c) {
  const int64_t hidden = c.at("hidden_size");
  const int64_t inner = c.at("intermediate_size");
  const int64_t heads = c.at("num_attention_heads");
  const int64_t dim = c.value("head_dim", hidden / heads);
  const int64_t q = heads * dim;
  const int64_t kv = c.at("num_key_value_heads").get<int64_t>() * dim;
  const int64_t vocab = c.at("vocab_size");
  std::vector<TinyTensor> tensors = {
      {"model.embed_tokens.weight", {vocab, hidden}},
      {"model.norm.weight", {hidden}}};
  if (!c.value("tie_word_embeddings", false)) {
    tensors.push_back({"lm_head.weight", {vocab, hidden}});
  }
  for (int64_t i = 0; i < c.at("num_hidden_layers"); ++i) {
    const std::string p = absl::StrCat("model.layers.", i, ".");
    tensors.push_back({p + "input_layernorm.weight", {hidden}});
    tensors.push_back({p + "post_attention_layernorm.weight", {hidden}});
    const auto add = [&](const char* name, int64_t out, int64_t in,
                         const char* bias_flag) {
      tensors.push_back({absl::StrCat(p, name, ".weight"), {out, in}});
      if (c.value(bias_flag, false)) {
        tensors.push_back({absl::StrCat(p, name, ".bias"), {out}});
      }
    };
    add("self_attn.q_proj", q, hidden, "attention_bias");
    add("self_attn.k_proj", kv, hidden, "attention_bias");
    add("self_attn.v_proj", kv, hidden, "attention_bias");
    add("self_attn.o_proj", hidden, q, "attention_bias");
    add("mlp.gate_proj", inner, hidden, "mlp_bias");
    add("mlp.up_proj", inner, hidden, "mlp_bias");
    add("mlp.down_proj", hidden, inner, "mlp_bias");
  }
  return tensors;
}

std::vector<TinyTensor> Gpt2Tensors(const ordered_json& c) {
  const int64_t hidden = c.at("n_embd");
  const int64_t inner = c.value("n_inner", 4 * hidden);
  const int64_t vocab = c.at("vocab_size");
  std::vector<TinyTensor> tensors = {
      {"transformer.wte.weight", {vocab, hidden}},
      {"transformer.wpe.weight", {c.at("n_positions").get<int64_t>(), hidden}}};
  if (!c.value("tie_word_embeddings", true)) {
    tensors.push_back({"lm_head.weight", {vocab, hidden}});
  }
  const auto add_norm = [&](const std::string& name) {
    tensors.push_back({name + ".weight", {hidden}});
    tensors.push_back({name + ".bias", {hidden}});
  };
  add_norm("transformer.ln_f");
  for (int64_t i = 0; i < c.at("n_layer"); ++i) {
    const std::string p = absl::StrCat("transformer.h.", i, ".");
    add_norm(p + "ln_1");
    add_norm(p + "ln_2");
    const auto add = [&](const char* name, int64_t in, int64_t out) {
      tensors.push_back({absl::StrCat(p, name, ".weight"), {in, out}});
      tensors.push_back({absl::StrCat(p, name, ".bias"), {out}});
    };
    add("attn.c_attn", hidden, 3 * hidden);
    add("attn.c_proj", hidden, hidden);
    add("mlp.c_fc", hidden, inner);
    add("mlp.c_proj", inner, hidden);
  }
  return tensors;
}

void WriteShards(const std::string& dir, const std::vector<RawTensor>& tensors,
                 int num_shards) {
  ordered_json map = ordered_json::object();
  int64_t total = 0;
  for (int shard = 0; shard < num_shards; ++shard) {
    const std::string name = absl::StrFormat("model-%05d-of-%05d.safetensors",
                                             shard + 1, num_shards);
    std::vector<RawTensor> part;
    for (size_t i = shard; i < tensors.size(); i += num_shards) {
      part.push_back(tensors[i]);
      map[tensors[i].name] = name;
      total += static_cast<int64_t>(tensors[i].bytes.size());
    }
    WriteFile(dir + "/" + name, SafetensorsFile(part));
  }
  const ordered_json index = {{"metadata", {{"total_size", total}}},
                              {"weight_map", map}};
  WriteFile(dir + "/model.safetensors.index.json", index.dump());
}

}  // namespace

TinyModelSpec TinyLlama() {
  return {.config = {{"architectures", {"LlamaForCausalLM"}},
                     {"model_type", "llama"},
                     {"vocab_size", 131},
                     {"hidden_size", 48},
                     {"intermediate_size", 88},
                     {"num_hidden_layers", 2},
                     {"num_attention_heads", 4},
                     {"num_key_value_heads", 2},
                     {"max_position_embeddings", 512},
                     {"rms_norm_eps", 1e-5},
                     {"rope_theta", 10000.0},
                     {"hidden_act", "silu"},
                     {"tie_word_embeddings", false},
                     {"bos_token_id", 1},
                     {"eos_token_id", 2},
                     {"torch_dtype", "float32"}}};
}

TinyModelSpec TinyGpt2() {
  return {.config = {{"architectures", {"GPT2LMHeadModel"}},
                     {"model_type", "gpt2"},
                     {"vocab_size", 113},
                     {"n_positions", 256},
                     {"n_embd", 48},
                     {"n_layer", 2},
                     {"n_head", 4},
                     {"activation_function", "gelu_new"},
                     {"layer_norm_epsilon", 1e-5},
                     {"bos_token_id", 0},
                     {"eos_token_id", 0},
                     {"tie_word_embeddings", true},
                     {"torch_dtype", "float32"}}};
}

std::vector<TinyTensor> TinyModelTensors(const ordered_json& config) {
  std::vector<TinyTensor> tensors = config.at("model_type") == "llama"
                                        ? LlamaTensors(config)
                                        : Gpt2Tensors(config);
  std::sort(tensors.begin(), tensors.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  return tensors;
}

void WriteTinyModel(const std::string& dir, const TinyModelSpec& spec) {
  std::filesystem::create_directories(dir);
  WriteFile(dir + "/config.json", spec.config.dump(1));
  std::vector<RawTensor> tensors;
  for (const TinyTensor& t : TinyModelTensors(spec.config)) {
    tensors.push_back({t.name, spec.dtype, t.shape,
                       TinyTensorBytes(t, spec.seed, spec.dtype)});
  }
  if (spec.num_shards > 1) {
    WriteShards(dir, tensors, spec.num_shards);
  } else {
    WriteFile(dir + "/model.safetensors", SafetensorsFile(tensors));
  }
}

std::string TinyTensorBytes(const TinyTensor& tensor, uint64_t seed,
                            Dtype dtype) {
  const uint64_t start = Fnv1a64(tensor.name) ^ seed;
  const float amplitude = AmplitudeOf(tensor.name);
  const bool is_norm = IsNormWeight(tensor.name);
  std::vector<float> values(NumElements(tensor.shape));
  for (size_t i = 0; i < values.size(); ++i) {
    const auto u = static_cast<float>(SplitMix64(start, i) >> 40) * 0x1.0p-24f;
    // Exact up to the last product: no compiler can round it otherwise.
    values[i] = (u - 0.5f) * 2 * amplitude;
    if (is_norm) {
      values[i] = static_cast<float>(1.0 + static_cast<double>(values[i]));
    }
  }
  return EncodeFloats(values, dtype);
}

std::string SafetensorsFile(const std::vector<RawTensor>& tensors) {
  ordered_json header = ordered_json::object();
  header["__metadata__"] = {{"format", "pt"}};
  size_t offset = 0;
  for (const RawTensor& t : tensors) {
    const size_t end = offset + t.bytes.size();
    header[t.name] = {{"dtype", std::string(DtypeName(t.dtype))},
                      {"shape", t.shape},
                      {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  std::string file(8, '\0');
  const uint64_t size = text.size();
  std::memcpy(file.data(), &size, sizeof(size));
  file += text;
  for (const RawTensor& t : tensors) {
    file += t.bytes;
  }
  return file;
}

std::string EncodeFloats(const std::vector<float>& values, Dtype dtype) {
  std::string bytes(values.size() * DtypeBytes(dtype), '\0');
  for (size_t i = 0; i < values.size(); ++i) {
    switch (dtype) {
      case Dtype::kF32:
        std::memcpy(&bytes[4 * i], &values[i], 4);
        break;
      case Dtype::kF16:
      case Dtype::kBF16: {
        const uint16_t half =
            dtype == Dtype::kF16 ? ToF16(values[i]) : ToBf16(values[i]);
        std::memcpy(&bytes[2 * i], &half, 2);
        break;
      }
      default:
        Die("a tiny tensor is F32, F16 or BF16");
    }
  }
  return bytes;
}

std::map<std::string, std::vector<float>> ReadFloats(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string file{std::istreambuf_iterator<char>(in), {}};
  const auto header = ParseSafetensorsHeader(file, file.size(), ModelLimits());
  if (!header.ok()) {
    Die(absl::StrCat(path, ": ", header.status().ToString()));
  }
  std::map<std::string, std::vector<float>> tensors;
  for (const TensorInfo& t : header->tensors) {
    if (t.dtype != Dtype::kF32) {
      Die(absl::StrCat(path, ": ", t.name, " is not F32"));
    }
    std::vector<float>& values = tensors[t.name];
    values.resize(t.num_elements());
    std::memcpy(values.data(), file.data() + header->data_offset + t.begin,
                t.num_bytes());
  }
  return tensors;
}

ordered_json ReadJson(const std::string& path) {
  std::ifstream in(path);
  ordered_json json = ordered_json::parse(in, nullptr, false);
  if (json.is_discarded()) {
    Die(absl::StrCat(path, " is missing or not JSON"));
  }
  return json;
}

void WriteFile(const std::string& path, absl::string_view bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  out.close();
  if (!out) {
    Die(absl::StrCat("cannot write ", path));
  }
}

}  // namespace stockpot::testing
