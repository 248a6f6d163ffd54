// The frequencies of rotary position embeddings (arXiv:2104.09864).

#ifndef STOCKPOT_MODEL_ROPE_H_
#define STOCKPOT_MODEL_ROPE_H_

#include <vector>

#include "formats/model_config.h"

namespace stockpot {

// Radians per position of each of the head_dim / 2 pairs, after the scaling
// that the configuration names: none, linear (divides by the factor), or llama3
// (divides long wavelengths, keeps short ones, blends between; transformers'
// _compute_llama3_parameters). Computed in float32 as the reference does.
std::vector<float> RopeFrequencies(const ModelConfig& config);

}  // namespace stockpot

#endif  // STOCKPOT_MODEL_ROPE_H_
