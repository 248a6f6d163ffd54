#include "formats/adapter_parts.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

#include "base/status_macros.h"
#include "formats/quoted.h"

namespace stockpot {
namespace {

// What converting an adapter may cost whenever it is loaded: under a minute of
// one core, and 256 MiB for the float64 form of a module.
constexpr double kMaxConversionFlops = 1e12;
constexpr int64_t kMaxConversionElements = int64_t{1} << 25;
constexpr char kConvertFirst[] =
    "; convert the adapter once with peft.save_as_lora(path, model, rank) and "
    "upload the result";

template <typename... Args>
absl::Status TensorError(absl::string_view name, const Args&... args) {
  return absl::InvalidArgumentError(
      absl::StrCat("adapter tensor ", Quoted(name), ": ", args...));
}

}  // namespace

absl::StatusOr<AdaptedModule> PartChecker::Check(const BaseModule& module,
                                                 const AdapterParts& parts) {
  AdaptedModule adapted;
  adapted.parts = parts;
  switch (config_.kind()) {
    case AdapterKind::kLora:
    case AdapterKind::kAdaLora:
      RETURN_IF_ERROR(CheckLora(module, &adapted));
      break;
    case AdapterKind::kLoha:
      RETURN_IF_ERROR(CheckLoha(module, &adapted));
      break;
    case AdapterKind::kLokr:
      RETURN_IF_ERROR(CheckLokr(module, &adapted));
      break;
    case AdapterKind::kVera:
      RETURN_IF_ERROR(CheckVera(module, &adapted));
      break;
    case AdapterKind::kFourierFt:
      RETURN_IF_ERROR(CheckFourierFt(module, &adapted));
      break;
    case AdapterKind::kMiss:
      RETURN_IF_ERROR(CheckMiss(module, &adapted));
      break;
    case AdapterKind::kIa3:
      RETURN_IF_ERROR(CheckIa3(module, &adapted));
      break;
    case AdapterKind::kTrainableTokens:
      break;  // No layer has a part of it.
  }
  return adapted;
}

absl::Status PartChecker::Finish() const {
  if (conversion_flops_ > kMaxConversionFlops) {
    return absl::UnimplementedError(
        absl::StrCat("converting this ", PeftTypeName(config_.kind()),
                     " adapter to low-rank factors takes ", conversion_flops_,
                     " operations, at most ", kMaxConversionFlops,
                     " are allowed", kConvertFirst));
  }
  return absl::OkStatus();
}

absl::Status PartChecker::Require(const AdapterParts& parts,
                                  AdapterPart part) const {
  if (parts.Has(part)) {
    return absl::OkStatus();
  }
  const std::string& there = header_.tensors[parts.First()].name;
  std::string name(PartName(part));
  if (absl::StrContains(there, ".lora_embedding_")) {
    name = absl::StrReplaceAll(
        name, {{"lora_A", "lora_embedding_A"}, {"lora_B", "lora_embedding_B"}});
  }
  return TensorError(there, "its partner ", name, " is missing");
}

absl::Status PartChecker::CheckShape(const TensorInfo& tensor,
                                     const std::vector<int64_t>& expected,
                                     const char* why) const {
  if (tensor.shape == expected) {
    return absl::OkStatus();
  }
  return TensorError(tensor.name, "expected shape ", ShapeString(expected), " ",
                     why, ", got ", ShapeString(tensor.shape));
}

absl::Status PartChecker::CheckScale(const BaseModule& module, int64_t rank,
                                     AdaptedModule* adapted) const {
  ASSIGN_OR_RETURN(adapted->scale, config_.Scaling(module.path, rank));
  return absl::OkStatus();
}

absl::Status PartChecker::CheckLora(const BaseModule& module,
                                    AdaptedModule* adapted) {
  const AdapterParts& parts = adapted->parts;
  RETURN_IF_ERROR(Require(parts, AdapterPart::kLoraA));
  RETURN_IF_ERROR(Require(parts, AdapterPart::kLoraB));
  const TensorInfo& a = Tensor(parts, AdapterPart::kLoraA);
  const TensorInfo& b = Tensor(parts, AdapterPart::kLoraB);
  for (const TensorInfo* tensor : {&a, &b}) {
    if (tensor->shape.size() != 2) {
      return TensorError(tensor->name, "expected two dimensions, got shape ",
                         ShapeString(tensor->shape));
    }
  }
  adapted->rank = a.shape[0];
  // AdaLoRA may have pruned every rank of a layer.
  const int64_t least = config_.kind() == AdapterKind::kAdaLora ? 0 : 1;
  if (adapted->rank < least || adapted->rank > AdapterConfig::kMaxRank) {
    return TensorError(a.name, "rank ", adapted->rank, " is not in [", least,
                       ", ", AdapterConfig::kMaxRank, "]");
  }
  if (a.shape[1] != module.in) {
    return TensorError(a.name, "expected shape [rank, ", module.in,
                       "] for the input side of this layer, got ",
                       ShapeString(a.shape));
  }
  if (b.shape[0] != module.out) {
    return TensorError(b.name, "expected shape [", module.out, ", ",
                       adapted->rank, "] for the output side of this layer, ",
                       "got ", ShapeString(b.shape));
  }
  if (b.shape[1] != adapted->rank) {
    return TensorError(b.name, "expected rank ", adapted->rank,
                       " as its lora_A has, got shape ", ShapeString(b.shape));
  }
  RETURN_IF_ERROR(CheckScale(module, adapted->rank, adapted));
  return CheckLoraExtras(module, adapted);
}

absl::Status PartChecker::CheckLoraExtras(const BaseModule& module,
                                          AdaptedModule* adapted) const {
  struct Extra {
    AdapterPart part;
    bool expected;
    std::vector<int64_t> shape;
    const char* setting;
  };
  const AdapterKindOptions& options = config_.kind_options();
  const bool is_ada = options.kind == AdapterKind::kAdaLora;
  const Extra extras[] = {
      {AdapterPart::kLoraBias, options.lora_bias, {module.out}, "lora_bias"},
      {AdapterPart::kMagnitude, options.use_dora, {module.out}, "use_dora"},
      {AdapterPart::kLoraE, is_ada, {adapted->rank, 1}, "peft_type ADALORA"},
  };
  const AdapterParts& parts = adapted->parts;
  for (const Extra& extra : extras) {
    if (extra.expected) {
      RETURN_IF_ERROR(Require(parts, extra.part));
      RETURN_IF_ERROR(
          CheckShape(Tensor(parts, extra.part), extra.shape, "for this layer"));
    } else if (parts.Has(extra.part)) {
      return TensorError(Tensor(parts, extra.part).name,
                         "adapter_config.json does not say ", extra.setting,
                         "; weights and config must be of one adapter");
    }
  }
  if (parts.Has(AdapterPart::kSoupsLogit)) {
    return CheckShape(Tensor(parts, AdapterPart::kSoupsLogit), {1},
                      "for LoRA-Soups' share of this layer");
  }
  return absl::OkStatus();
}

absl::Status PartChecker::SetConverted(const BaseModule& module, int64_t wide,
                                       AdaptedModule* adapted) {
  const int64_t narrow = std::min(module.in, module.out);
  adapted->rank = std::min({wide, narrow, kMaxServedRank});
  adapted->is_exact = adapted->rank == std::min(wide, narrow);
  if (wide <= adapted->rank) {
    return absl::OkStatus();
  }
  // Made smaller by an SVD: of the dense update when that is smaller than its
  // factors, else of their triangular parts (merge/conversion.h).
  const double in = static_cast<double>(module.in);
  const double out = static_cast<double>(module.out);
  const double inner = static_cast<double>(std::min(wide, narrow));
  const double elements = wide > narrow ? 2 * in * out : (in + out) * inner;
  conversion_flops_ +=
      4 * (in + out) * inner * inner + 20 * inner * inner * inner;
  return CheckElements(module, elements);
}

absl::Status PartChecker::CheckElements(const BaseModule& module,
                                        double elements) const {
  if (elements > static_cast<double>(kMaxConversionElements)) {
    return absl::UnimplementedError(absl::StrCat(
        "module ", Quoted(module.path), ": converting its ",
        PeftTypeName(config_.kind()), " update to low-rank factors takes ",
        elements, " values in memory, at most ", kMaxConversionElements,
        " are allowed", kConvertFirst));
  }
  return absl::OkStatus();
}

absl::Status PartChecker::CheckLoha(const BaseModule& module,
                                    AdaptedModule* adapted) {
  const AdapterParts& parts = adapted->parts;
  for (const AdapterPart part :
       {AdapterPart::kHadaW1A, AdapterPart::kHadaW1B, AdapterPart::kHadaW2A,
        AdapterPart::kHadaW2B}) {
    RETURN_IF_ERROR(Require(parts, part));
  }
  ASSIGN_OR_RETURN(const int64_t r, config_.Rank(module.path));
  for (const AdapterPart part :
       {AdapterPart::kHadaW1A, AdapterPart::kHadaW2A}) {
    RETURN_IF_ERROR(CheckShape(Tensor(parts, part), {module.out, r},
                               "for the output side of this layer"));
  }
  for (const AdapterPart part :
       {AdapterPart::kHadaW1B, AdapterPart::kHadaW2B}) {
    RETURN_IF_ERROR(CheckShape(Tensor(parts, part), {r, module.in},
                               "for the input side of this layer"));
  }
  RETURN_IF_ERROR(CheckScale(module, r, adapted));
  return SetConverted(module, r * r, adapted);
}

absl::StatusOr<PartChecker::KronSide> PartChecker::CheckKronSide(
    const AdapterParts& parts, AdapterPart whole, AdapterPart a,
    AdapterPart b) const {
  KronSide side;
  if (parts.Has(whole)) {
    for (const AdapterPart half : {a, b}) {
      if (parts.Has(half)) {
        return TensorError(Tensor(parts, half).name, "stands beside ",
                           PartName(whole), "; one of them is too many");
      }
    }
    const TensorInfo& tensor = Tensor(parts, whole);
    if (tensor.shape.size() != 2) {
      return TensorError(tensor.name, "expected two dimensions, got shape ",
                         ShapeString(tensor.shape));
    }
    side = {tensor.shape[0], tensor.shape[1],
            std::min(tensor.shape[0], tensor.shape[1])};
  } else {
    RETURN_IF_ERROR(Require(parts, a));
    RETURN_IF_ERROR(Require(parts, b));
    const TensorInfo& left = Tensor(parts, a);
    const TensorInfo& right = Tensor(parts, b);
    if (left.shape.size() != 2 || right.shape.size() != 2 ||
        left.shape[1] != right.shape[0]) {
      return TensorError(left.name, "its shape ", ShapeString(left.shape),
                         " does not multiply ", ShapeString(right.shape),
                         " of ", PartName(b));
    }
    side = {left.shape[0], right.shape[1],
            std::min({left.shape[0], right.shape[1], left.shape[1]})};
  }
  return side;
}

absl::Status PartChecker::CheckLokr(const BaseModule& module,
                                    AdaptedModule* adapted) {
  const AdapterParts& parts = adapted->parts;
  ASSIGN_OR_RETURN(const KronSide left,
                   CheckKronSide(parts, AdapterPart::kLokrW1,
                                 AdapterPart::kLokrW1A, AdapterPart::kLokrW1B));
  ASSIGN_OR_RETURN(const KronSide right,
                   CheckKronSide(parts, AdapterPart::kLokrW2,
                                 AdapterPart::kLokrW2A, AdapterPart::kLokrW2B));
  // Each at most the layer's, so that the products cannot overflow.
  if (left.rows < 1 || right.rows < 1 || left.columns < 1 ||
      right.columns < 1 || left.rows > module.out || right.rows > module.out ||
      left.columns > module.in || right.columns > module.in ||
      left.rows * right.rows != module.out ||
      left.columns * right.columns != module.in || left.rank < 1 ||
      right.rank < 1) {
    return TensorError(header_.tensors[parts.First()].name,
                       "the product of a [", left.rows, ", ", left.columns,
                       "] and a [", right.rows, ", ", right.columns,
                       "] matrix is not [", module.out, ", ", module.in,
                       "], the size of this layer");
  }
  ASSIGN_OR_RETURN(const int64_t r, config_.Rank(module.path));
  RETURN_IF_ERROR(CheckScale(module, r, adapted));
  const int64_t rank = left.rank * right.rank;
  adapted->rank = std::min(rank, kMaxServedRank);
  adapted->is_exact = adapted->rank == rank;
  if (adapted->is_exact) {
    return absl::OkStatus();
  }
  // The singular values of a Kronecker product are the products of those of its
  // sides, so that only these are decomposed.
  for (const KronSide* side : {&left, &right}) {
    const int64_t elements = side->rows * side->columns;
    conversion_flops_ +=
        20 * static_cast<double>(elements) *
        static_cast<double>(std::min(side->rows, side->columns));
    RETURN_IF_ERROR(CheckElements(module, static_cast<double>(elements)));
  }
  return absl::OkStatus();
}

absl::Status PartChecker::CheckVera(const BaseModule& module,
                                    AdaptedModule* adapted) {
  if (shared_.vera_a == kNoTensor || shared_.vera_b == kNoTensor) {
    return absl::InvalidArgumentError(
        "the weights lack \"base_model.vera_A\" or \"base_model.vera_B\", the "
        "projections that VeRA's layers share; save the adapter with "
        "save_projection=True");
  }
  const AdapterParts& parts = adapted->parts;
  RETURN_IF_ERROR(Require(parts, AdapterPart::kVeraB));
  RETURN_IF_ERROR(Require(parts, AdapterPart::kVeraD));
  adapted->rank = config_.r();
  RETURN_IF_ERROR(CheckShape(Tensor(parts, AdapterPart::kVeraB), {module.out},
                             "for the output side of this layer"));
  RETURN_IF_ERROR(CheckShape(Tensor(parts, AdapterPart::kVeraD),
                             {adapted->rank}, "as \"r\" says"));
  const TensorInfo& a = header_.tensors[shared_.vera_a];
  const TensorInfo& b = header_.tensors[shared_.vera_b];
  if (a.shape.size() != 2 || a.shape[0] != adapted->rank ||
      a.shape[1] < module.in) {
    return TensorError(a.name, "expected shape [", adapted->rank, ", at least ",
                       module.in, "] for module ", Quoted(module.path),
                       ", got ", ShapeString(a.shape));
  }
  if (b.shape.size() != 2 || b.shape[1] != adapted->rank ||
      b.shape[0] < module.out) {
    return TensorError(b.name, "expected shape [at least ", module.out, ", ",
                       adapted->rank, "] for module ", Quoted(module.path),
                       ", got ", ShapeString(b.shape));
  }
  return CheckScale(module, adapted->rank, adapted);
}

absl::Status PartChecker::CheckFourierFt(const BaseModule& module,
                                         AdaptedModule* adapted) {
  RETURN_IF_ERROR(Require(adapted->parts, AdapterPart::kSpectrum));
  const TensorInfo& spectrum = Tensor(adapted->parts, AdapterPart::kSpectrum);
  const int64_t size = module.in * module.out;
  if (spectrum.shape.size() != 1 || spectrum.shape[0] < 1 ||
      spectrum.shape[0] > size) {
    return TensorError(spectrum.name, "expected 1 to ", size,
                       " frequencies, got shape ", ShapeString(spectrum.shape));
  }
  // Choosing the frequencies shuffles this many numbers.
  if (size > kMaxConversionElements) {
    return absl::UnimplementedError(
        absl::StrCat("module ", Quoted(module.path), ": its ", size,
                     " weights are too many to draw frequencies from, at most ",
                     kMaxConversionElements, " are allowed", kConvertFirst));
  }
  RETURN_IF_ERROR(CheckScale(module, 1, adapted));
  // A real frequency is a cosine and a sine.
  return SetConverted(module, 2 * spectrum.shape[0], adapted);
}

absl::Status PartChecker::CheckMiss(const BaseModule& module,
                                    AdaptedModule* adapted) {
  RETURN_IF_ERROR(Require(adapted->parts, AdapterPart::kMissBlock));
  adapted->rank = config_.r();
  if (adapted->rank > module.in) {
    return absl::InvalidArgumentError(absl::StrCat(
        "module ", Quoted(module.path), ": \"r\" is ", adapted->rank,
        ", more than the layer's ", module.in, " inputs"));
  }
  const int64_t mini = config_.kind_options().mini_r;
  if (mini > 0 && module.out % mini != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "module ", Quoted(module.path), ": \"mini_r\" is ", mini,
        ", which does not divide the layer's ", module.out, " outputs"));
  }
  RETURN_IF_ERROR(
      CheckShape(Tensor(adapted->parts, AdapterPart::kMissBlock),
                 {adapted->rank, mini > 0 ? mini : module.out},
                 "as \"r\" and \"init_weights\" say for this layer"));
  return CheckScale(module, adapted->rank, adapted);
}

absl::Status PartChecker::CheckIa3(const BaseModule& module,
                                   AdaptedModule* adapted) {
  RETURN_IF_ERROR(Require(adapted->parts, AdapterPart::kIa3));
  const TensorInfo& l = Tensor(adapted->parts, AdapterPart::kIa3);
  const bool is_output = l.shape == std::vector<int64_t>{module.out, 1};
  const bool is_input = l.shape == std::vector<int64_t>{1, module.in};
  if (!is_output && !is_input) {
    return TensorError(l.name, "expected shape [", module.out, ", 1], or [1, ",
                       module.in, "] of a feed-forward module, got ",
                       ShapeString(l.shape));
  }
  if (is_input && !module.reads_alone) {
    return absl::UnimplementedError(absl::StrCat(
        "adapter tensor ", Quoted(l.name),
        ": scales the inputs of a layer that reads them together with others; "
        "train without it in feedforward_modules"));
  }
  return CheckScale(module, 1, adapted);
}

}  // namespace stockpot
