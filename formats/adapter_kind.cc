#include "formats/adapter_kind.h"

#include <utility>

#include "absl/strings/strip.h"

namespace stockpot {
namespace {

struct KindRow {
  AdapterKind kind;
  absl::string_view peft_type;
};
constexpr std::array<KindRow, 9> kKinds = {{
    {AdapterKind::kLora, "LORA"},
    {AdapterKind::kAdaLora, "ADALORA"},
    {AdapterKind::kLoha, "LOHA"},
    {AdapterKind::kLokr, "LOKR"},
    {AdapterKind::kVera, "VERA"},
    {AdapterKind::kFourierFt, "FOURIERFT"},
    {AdapterKind::kMiss, "MISS"},
    {AdapterKind::kIa3, "IA3"},
    {AdapterKind::kTrainableTokens, "TRAINABLE_TOKENS"},
}};

struct PartRow {
  AdapterPart part;
  AdapterKind kind;
  absl::string_view name;
};
// In the order of the enum.
constexpr std::array<PartRow, kNumAdapterParts> kParts = {{
    {AdapterPart::kLoraA, AdapterKind::kLora, "lora_A"},
    {AdapterPart::kLoraB, AdapterKind::kLora, "lora_B"},
    {AdapterPart::kLoraBias, AdapterKind::kLora, "lora_B.bias"},
    {AdapterPart::kMagnitude, AdapterKind::kLora, "lora_magnitude_vector"},
    {AdapterPart::kSoupsLogit, AdapterKind::kLora, "lora_learnable_weights"},
    {AdapterPart::kLoraE, AdapterKind::kAdaLora, "lora_E"},
    {AdapterPart::kHadaW1A, AdapterKind::kLoha, "hada_w1_a"},
    {AdapterPart::kHadaW1B, AdapterKind::kLoha, "hada_w1_b"},
    {AdapterPart::kHadaW2A, AdapterKind::kLoha, "hada_w2_a"},
    {AdapterPart::kHadaW2B, AdapterKind::kLoha, "hada_w2_b"},
    {AdapterPart::kLokrW1, AdapterKind::kLokr, "lokr_w1"},
    {AdapterPart::kLokrW1A, AdapterKind::kLokr, "lokr_w1_a"},
    {AdapterPart::kLokrW1B, AdapterKind::kLokr, "lokr_w1_b"},
    {AdapterPart::kLokrW2, AdapterKind::kLokr, "lokr_w2"},
    {AdapterPart::kLokrW2A, AdapterKind::kLokr, "lokr_w2_a"},
    {AdapterPart::kLokrW2B, AdapterKind::kLokr, "lokr_w2_b"},
    {AdapterPart::kVeraB, AdapterKind::kVera, "vera_lambda_b"},
    {AdapterPart::kVeraD, AdapterKind::kVera, "vera_lambda_d"},
    {AdapterPart::kSpectrum, AdapterKind::kFourierFt, "fourierft_spectrum"},
    {AdapterPart::kMissBlock, AdapterKind::kMiss, "miss_block"},
    {AdapterPart::kIa3, AdapterKind::kIa3, "ia3_l"},
}};

const PartRow& RowOf(AdapterPart part) {
  return kParts[static_cast<size_t>(part)];
}

}  // namespace

absl::string_view PeftTypeName(AdapterKind kind) {
  return kKinds[static_cast<size_t>(kind)].peft_type;
}

std::optional<AdapterKind> AdapterKindOf(absl::string_view peft_type) {
  for (const KindRow& row : kKinds) {
    if (row.peft_type == peft_type) {
      return row.kind;
    }
  }
  return std::nullopt;
}

std::vector<std::string> ServedPeftTypes() {
  std::vector<std::string> types;
  types.reserve(kKinds.size());
  for (const KindRow& row : kKinds) {
    types.emplace_back(row.peft_type);
  }
  return types;
}

absl::string_view PartName(AdapterPart part) { return RowOf(part).name; }

AdapterKind KindOfPart(AdapterPart part) { return RowOf(part).kind; }

bool HasPart(AdapterKind kind, AdapterPart part) {
  if (kind == AdapterKind::kAdaLora &&
      (part == AdapterPart::kLoraA || part == AdapterPart::kLoraB)) {
    return true;
  }
  return KindOfPart(part) == kind;
}

std::optional<PartOfModule> ParsePartOfModule(absl::string_view name) {
  const bool is_bias = absl::ConsumeSuffix(&name, ".bias");
  if (!is_bias) {
    absl::ConsumeSuffix(&name, ".weight");
  }
  absl::ConsumeSuffix(&name, ".default");
  const size_t dot = name.rfind('.');
  if (dot == 0 || dot == absl::string_view::npos) {
    return std::nullopt;
  }
  const absl::string_view last = name.substr(dot + 1);
  if (is_bias) {
    return last == PartName(AdapterPart::kLoraB)
               ? std::optional<PartOfModule>(
                     {name.substr(0, dot), AdapterPart::kLoraBias})
               : std::nullopt;
  }
  // PEFT names an embedding's factors apart from a linear layer's.
  for (const auto& [embedding, part] :
       {std::pair{"lora_embedding_A", AdapterPart::kLoraA},
        std::pair{"lora_embedding_B", AdapterPart::kLoraB}}) {
    if (last == embedding) {
      return PartOfModule{name.substr(0, dot), part};
    }
  }
  for (const PartRow& row : kParts) {
    if (row.name == last) {
      return PartOfModule{name.substr(0, dot), row.part};
    }
  }
  return std::nullopt;
}

size_t AdapterParts::First() const {
  for (const size_t tensor : tensors_) {
    if (tensor != kNoTensor) {
      return tensor;
    }
  }
  return kNoTensor;
}

}  // namespace stockpot
