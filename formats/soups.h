// LoRA-Soups' learnable concatenation (CAT): adapters trained apart, and one
// trained number per adapter and layer that says how much of each to take.
//
// Each adapter's checkpoint holds its own numbers, as
// "<module>.lora_learnable_weights"; the shares are their softmax over the
// adapters, layer by layer. Source: arXiv:2410.13025 and its code,
// learnable_lora/lora/layer.py, which has every adapter adapt every layer.

#ifndef STOCKPOT_FORMATS_SOUPS_H_
#define STOCKPOT_FORMATS_SOUPS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace stockpot {

struct SoupsLogit {
  std::string module_path;  // "model.layers.0.self_attn.q_proj"
  double value = 0;         // Before the softmax.
};

// Reads the numbers of one adapter from `file`, a whole
// adapter_model.safetensors; sorted by module path.
//
// Errors: InvalidArgument for a broken file, a number of the wrong shape or
// dtype or that is not finite, a module named twice, and a file without any.
absl::StatusOr<std::vector<SoupsLogit>> ReadSoupsLogits(absl::string_view file);

// How much of each adapter one layer takes.
struct SoupsShares {
  std::string module_path;
  std::vector<double> weights;  // [adapters], positive, of sum 1.
};

// Turns the numbers of all adapters, as ReadSoupsLogits() returns them and in
// the recipe's order, into weights per layer, for cat: dW = sum_i weights_i s_i
// B_i A_i. Sorted by module path.
//
// Errors: InvalidArgument for fewer than two adapters, and for a layer that
// only some of them adapt (named, with the adapter's place): its softmax is not
// defined.
absl::StatusOr<std::vector<SoupsShares>> MixSoups(
    absl::Span<const std::vector<SoupsLogit>> adapters);

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_SOUPS_H_
