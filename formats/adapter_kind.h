// The kinds of PEFT adapter that are served, and the tensors that each keeps
// for one linear layer.
//
// Source: PEFT 0.21, peft/tuners/*/layer.py (adapter_layer_names).

#ifndef STOCKPOT_FORMATS_ADAPTER_KIND_H_
#define STOCKPOT_FORMATS_ADAPTER_KIND_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace stockpot {

// docs/adapters.md has the formula of each.
enum class AdapterKind : uint8_t {
  kLora,       // arXiv:2106.09685; with use_dora arXiv:2402.09353.
  kAdaLora,    // arXiv:2303.10512.
  kLoha,       // arXiv:2108.06098.
  kLokr,       // arXiv:2309.14859.
  kVera,       // arXiv:2310.11454.
  kFourierFt,  // arXiv:2405.03003.
  kMiss,       // arXiv:2409.15371.
  kIa3,        // arXiv:2205.05638.
  // Rows of embedding and head alone, of which no layer has a part.
  kTrainableTokens,
};

// "LORA", as "peft_type" spells it.
absl::string_view PeftTypeName(AdapterKind kind);
// The inverse; nullopt for a type that is not served.
std::optional<AdapterKind> AdapterKindOf(absl::string_view peft_type);
// Names of all kinds, in the order of the enum.
std::vector<std::string> ServedPeftTypes();

// What a tensor is to the layer that it adapts. in and out are the layer's.
enum class AdapterPart : uint8_t {
  kLoraA,       // (rank, in); of the embedding, lora_embedding_A.
  kLoraB,       // (out, rank)
  kLoraBias,    // (out)
  kMagnitude,   // (out), DoRA's m.
  kSoupsLogit,  // (1), LoRA-Soups' share before its softmax.
  kLoraE,       // (rank, 1), AdaLoRA's singular values.
  kHadaW1A,     // (out, r)
  kHadaW1B,     // (r, in)
  kHadaW2A,     // (out, r)
  kHadaW2B,     // (r, in)
  kLokrW1,      // (out1, in1); out1 * out2 = out, in1 * in2 = in.
  kLokrW1A,     // (out1, r)
  kLokrW1B,     // (r, in1)
  kLokrW2,      // (out2, in2)
  kLokrW2A,     // (out2, r)
  kLokrW2B,     // (r, in2)
  kVeraB,       // (out)
  kVeraD,       // (r)
  kSpectrum,    // (n_frequency)
  kMissBlock,   // (r, out), or (r, mini_r).
  kIa3,         // (out, 1): scales outputs; (1, in): scales inputs.
};
inline constexpr size_t kNumAdapterParts = 21;

// As in tensor names: "lora_A".
absl::string_view PartName(AdapterPart part);
// True if an adapter of `kind` may have `part`.
bool HasPart(AdapterKind kind, AdapterPart part);
// The kind that `part` is of; kLora for those that AdaLoRA shares.
AdapterKind KindOfPart(AdapterPart part);

// A tensor's name without PEFT's prefix, taken apart.
struct PartOfModule {
  absl::string_view module_path;
  AdapterPart part = AdapterPart::kLoraA;
};
// "<path>.lora_A.weight", "<path>.lora_A.default.weight", "<path>.ia3_l",
// "<path>.lora_embedding_A", ....
// Returns nullopt for any other name. The result points into `name`.
std::optional<PartOfModule> ParsePartOfModule(absl::string_view name);

// Indices into SafetensorsHeader::tensors, by part.
inline constexpr size_t kNoTensor = std::numeric_limits<size_t>::max();
class AdapterParts {
 public:
  AdapterParts() { tensors_.fill(kNoTensor); }
  size_t& operator[](AdapterPart part) {
    return tensors_[static_cast<size_t>(part)];
  }
  size_t operator[](AdapterPart part) const {
    return tensors_[static_cast<size_t>(part)];
  }
  bool Has(AdapterPart part) const { return (*this)[part] != kNoTensor; }
  bool empty() const { return First() == kNoTensor; }
  // The tensor of the first part that is there.
  size_t First() const;

 private:
  std::array<size_t, kNumAdapterParts> tensors_;
};

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_ADAPTER_KIND_H_
