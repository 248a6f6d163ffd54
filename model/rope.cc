#include "model/rope.h"

#include <cmath>

namespace stockpot {

namespace {

constexpr float kPi = 3.14159265358979323846f;

float Llama3Frequency(float frequency, const RopeScaling& scaling) {
  const auto factor = static_cast<float>(scaling.factor);
  const auto low = static_cast<float>(scaling.low_freq_factor);
  const auto high = static_cast<float>(scaling.high_freq_factor);
  const auto original = static_cast<float>(scaling.original_max_positions);
  const float wavelength = 2 * kPi / frequency;
  if (wavelength > original / low) {
    return frequency / factor;
  }
  if (wavelength < original / high) {
    return frequency;
  }
  const float smooth = (original / wavelength - low) / (high - low);
  return (1 - smooth) * frequency / factor + smooth * frequency;
}

}  // namespace

std::vector<float> RopeFrequencies(const ModelConfig& config) {
  const int64_t half = config.head_dim / 2;
  std::vector<float> frequencies(half);
  for (int64_t i = 0; i < half; ++i) {
    const float exponent =
        static_cast<float>(2 * i) / static_cast<float>(config.head_dim);
    float frequency =
        1.0f / std::pow(static_cast<float>(config.rope_theta), exponent);
    switch (config.rope_scaling.kind) {
      case RopeScaling::Kind::kNone:
        break;
      case RopeScaling::Kind::kLinear:
        frequency /= static_cast<float>(config.rope_scaling.factor);
        break;
      case RopeScaling::Kind::kLlama3:
        frequency = Llama3Frequency(frequency, config.rope_scaling);
        break;
    }
    frequencies[i] = frequency;
  }
  return frequencies;
}

}  // namespace stockpot
