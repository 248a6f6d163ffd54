// Tiny base models whose weights are a function of their tensors' names.
//
// Nothing is stored in the repository: value i of the tensor `name` comes from
// SplitMix64, seeded by FNV-1a64(name) ^ seed. tests/golden/tiny.py holds the
// same definition, so that reference implementations see the same weights.
// Free functions; thread-safe. Failures end the program: they are the test's.

#ifndef STOCKPOT_TESTS_TESTING_TINY_MODEL_H_
#define STOCKPOT_TESTS_TESTING_TINY_MODEL_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

#include "formats/safetensors.h"

namespace stockpot::testing {

struct TinyModelSpec {
  nlohmann::ordered_json config;  // config.json
  uint64_t seed = 1;
  Dtype dtype = Dtype::kF32;  // Of the file: kF32, kF16 or kBF16.
  // 1: model.safetensors. More: shards with model.safetensors.index.json.
  int num_shards = 1;
};

// Two layers, hidden size 48, 4 heads over 2 key-value heads, vocabulary 131,
// 512 positions, separate head. Tests change single keys of `config`.
TinyModelSpec TinyLlama();
// Two layers, hidden size 48, 4 heads, vocabulary 113, 256 positions, tied.
TinyModelSpec TinyGpt2();

// A tensor before its values are made.
struct TinyTensor {
  std::string name;
  std::vector<int64_t> shape;
};

// The tensors that a model of this config.json has, by name.
std::vector<TinyTensor> TinyModelTensors(const nlohmann::ordered_json& config);

// Makes the directory `dir` if need be and writes a Hugging Face model into it.
void WriteTinyModel(const std::string& dir, const TinyModelSpec& spec);

// Elements as they stand in a file: little-endian, rounded to nearest even.
std::string TinyTensorBytes(const TinyTensor& tensor, uint64_t seed,
                            Dtype dtype);

// A tensor of a safetensors file; `bytes` fit dtype and shape.
struct RawTensor {
  std::string name;
  Dtype dtype = Dtype::kF32;
  std::vector<int64_t> shape;
  std::string bytes;
};

// A whole safetensors file with the tensors in the order given.
std::string SafetensorsFile(const std::vector<RawTensor>& tensors);

// `values` rounded to `dtype`, little-endian.
std::string EncodeFloats(const std::vector<float>& values, Dtype dtype);

// Float32 tensors of a safetensors file on disk, by name: golden values.
std::map<std::string, std::vector<float>> ReadFloats(const std::string& path);

nlohmann::ordered_json ReadJson(const std::string& path);
void WriteFile(const std::string& path, absl::string_view bytes);

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_TESTING_TINY_MODEL_H_
