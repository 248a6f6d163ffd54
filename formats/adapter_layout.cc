#include "formats/adapter_layout.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

#include "base/status_macros.h"
#include "formats/adapter_parts.h"
#include "formats/adapter_rows.h"
#include "formats/quoted.h"

namespace stockpot {
namespace {

constexpr absl::string_view kPrefix = "base_model.model.";
constexpr size_t kNumSuggestions = 3;

template <typename... Args>
absl::Status TensorError(absl::string_view name, const Args&... args) {
  return absl::InvalidArgumentError(
      absl::StrCat("adapter tensor ", Quoted(name), ": ", args...));
}

// Refuses by kind the tensors that PEFT saves beside plain factors.
absl::Status RefuseOtherKinds(absl::string_view name) {
  struct Kind {
    absl::string_view part;
    absl::string_view sentence;
  };
  constexpr std::array<Kind, 4> kKinds = {{
      {".modules_to_save.",
       "whole trained modules go by the name that save_pretrained gives them, "
       "without modules_to_save"},
      {".token_adapter.",
       "trained embedding rows are served of the base model's embedding and "
       "head, which have other names"},
      {".trainable_tokens_delta",
       "TRAINABLE_TOKENS are served of the base model's embedding and head as "
       "\"<module>.trainable_tokens_delta\"; of a tied model, train with "
       "target_modules that name the embedding alone"},
      {".lora_diag",
       "KaSA is not supported; train a plain LoRA of linear layers"},
  }};
  for (const Kind& kind : kKinds) {
    if (absl::StrContains(name, kind.part)) {
      return absl::UnimplementedError(
          absl::StrCat("adapter tensor ", Quoted(name), ": ", kind.sentence));
    }
  }
  return absl::OkStatus();
}

// "base_model.model.<path>.lora_A.weight", also "....lora_A.default.weight".
absl::StatusOr<PartOfModule> ParseName(absl::string_view name) {
  RETURN_IF_ERROR(RefuseOtherKinds(name));
  absl::string_view rest = name;
  const bool has_prefix = absl::ConsumePrefix(&rest, kPrefix);
  if (has_prefix) {
    if (const auto parsed = ParsePartOfModule(rest); parsed.has_value()) {
      return *parsed;
    }
  }
  if (has_prefix && !absl::StrContains(name, ".lora_")) {
    return absl::UnimplementedError(absl::StrCat(
        "adapter tensor ", Quoted(name),
        ": weights or biases of the base model itself are not supported, but "
        "for embedding and head (modules_to_save); save only the adapter"));
  }
  return TensorError(name, "expected a name like ",
                     "\"base_model.model.<module>.lora_A.weight\" or "
                     "\"...lora_B.weight\", as PEFT writes them");
}

size_t NumCommonSegments(const std::vector<absl::string_view>& x,
                         const std::vector<absl::string_view>& y) {
  size_t common = 0;
  const size_t shorter = std::min(x.size(), y.size());
  while (common < shorter && x[common] == y[common]) {
    ++common;
  }
  size_t from_end = 0;
  while (common + from_end < shorter &&
         x[x.size() - 1 - from_end] == y[y.size() - 1 - from_end]) {
    ++from_end;
  }
  return common + from_end;
}

// The base modules that share the most leading and trailing segments with
// `path`, quoted and joined.
std::string NearestModules(absl::string_view path,
                           absl::Span<const BaseModule> base) {
  const std::vector<absl::string_view> wanted = absl::StrSplit(path, '.');
  std::vector<std::pair<size_t, size_t>> ranked;
  for (size_t i = 0; i < base.size(); ++i) {
    const std::vector<absl::string_view> segments =
        absl::StrSplit(base[i].path, '.');
    ranked.emplace_back(NumCommonSegments(wanted, segments), i);
  }
  std::stable_sort(
      ranked.begin(), ranked.end(),
      [](const auto& x, const auto& y) { return x.first > y.first; });
  ranked.resize(std::min(ranked.size(), kNumSuggestions));
  return absl::StrJoin(ranked, ", ", [&](std::string* out, const auto& item) {
    absl::StrAppend(out, Quoted(base[item.second].path));
  });
}

absl::Status CheckDtype(const TensorInfo& tensor) {
  if (tensor.dtype != Dtype::kF32 && tensor.dtype != Dtype::kF16 &&
      tensor.dtype != Dtype::kBF16) {
    return TensorError(tensor.name, "dtype ", DtypeName(tensor.dtype),
                       " is not supported; supported are F32, F16 and BF16");
  }
  return absl::OkStatus();
}

// True, and the tensor noted, for VeRA's shared projections.
bool TakeShared(absl::string_view name, AdapterKind kind, size_t tensor,
                AdapterLayout* layout) {
  if (kind != AdapterKind::kVera) {
    return false;
  }
  absl::ConsumeSuffix(&name, ".default");
  if (name == "base_model.vera_A") {
    layout->vera_a = tensor;
    return true;
  }
  if (name == "base_model.vera_B") {
    layout->vera_b = tensor;
    return true;
  }
  return false;
}

// An embedding's factors have names of their own.
absl::Status CheckFactorName(absl::string_view name, const BaseModule& module) {
  const bool is_of_embedding = absl::StrContains(name, ".lora_embedding_");
  const bool is_factor = is_of_embedding ||
                         absl::StrContains(name, ".lora_A.") ||
                         absl::StrContains(name, ".lora_B.");
  if (!is_factor || is_of_embedding == module.is_embedding) {
    return absl::OkStatus();
  }
  return TensorError(name, "the base model's ", Quoted(module.path), " is ",
                     module.is_embedding
                         ? "an embedding, whose factors are lora_embedding_A "
                           "and lora_embedding_B"
                         : "a linear layer, whose factors are lora_A and "
                           "lora_B");
}

// Sorts the file's tensors by the base module that they adapt.
absl::StatusOr<std::vector<AdapterParts>> CollectParts(
    const SafetensorsHeader& header, AdapterKind kind,
    absl::Span<const BaseModule> base, std::vector<EndTensors>* ends,
    AdapterLayout* layout) {
  absl::flat_hash_map<absl::string_view, size_t> by_path;
  for (size_t i = 0; i < base.size(); ++i) {
    by_path[base[i].path] = i;
  }
  std::vector<AdapterParts> parts(base.size());
  for (size_t i = 0; i < header.tensors.size(); ++i) {
    const TensorInfo& tensor = header.tensors[i];
    layout->num_parameters += tensor.num_elements();
    RETURN_IF_ERROR(CheckDtype(tensor));
    if (TakeShared(tensor.name, kind, i, layout)) {
      continue;
    }
    ASSIGN_OR_RETURN(const bool is_rows,
                     TakeEndTensor(header, i, kind, base, ends));
    if (is_rows) {
      continue;
    }
    ASSIGN_OR_RETURN(const PartOfModule name, ParseName(tensor.name));
    if (!HasPart(kind, name.part)) {
      return TensorError(
          tensor.name, "is of a ", PeftTypeName(KindOfPart(name.part)),
          " adapter, adapter_config.json says ", PeftTypeName(kind),
          "; weights and config must be of one adapter");
    }
    auto it = by_path.find(name.module_path);
    if (it == by_path.end()) {
      return TensorError(tensor.name, "the base model has no linear layer ",
                         Quoted(name.module_path), "; the nearest are ",
                         NearestModules(name.module_path, base),
                         ". Was the adapter trained on another base model?");
    }
    RETURN_IF_ERROR(CheckFactorName(tensor.name, base[it->second]));
    size_t& slot = parts[it->second][name.part];
    if (slot != kNoTensor) {
      return TensorError(tensor.name, "the same factor is also stored as ",
                         Quoted(header.tensors[slot].name));
    }
    slot = i;
  }
  return parts;
}

// Of TRAINABLE_TOKENS: which rows are there is MatchRows()' matter.
absl::Status CheckRowsTargeted(const BaseModule& module, bool is_named) {
  if (is_named && !module.is_end()) {
    return absl::UnimplementedError(absl::StrCat(
        "adapter_config.json targets module ", Quoted(module.path),
        ", of whose weight TRAINABLE_TOKENS would replace rows, which is "
        "served of the embedding and the head only; train without it"));
  }
  return absl::OkStatus();
}

absl::Status CheckTargeted(const AdapterConfig& config,
                           const BaseModule& module, const AdapterParts& parts,
                           bool is_replaced_whole) {
  ASSIGN_OR_RETURN(const bool is_named,
                   config.Targets(module.path, module.is_end()));
  const bool is_there = !parts.empty();
  // PEFT adapts no module that it saves as a whole.
  const bool is_target = (is_named && !is_replaced_whole) ||
                         (is_there && FollowsEmbedding(config, module));
  if (config.kind() == AdapterKind::kTrainableTokens) {
    return CheckRowsTargeted(module, is_named);
  }
  if (is_target && module.is_embedding && config.kind() != AdapterKind::kLora) {
    return absl::UnimplementedError(absl::StrCat(
        "adapter_config.json targets the embedding ", Quoted(module.path),
        ", which is served of LORA alone, not of ", PeftTypeName(config.kind()),
        "; train without it"));
  }
  if (is_target && !is_there) {
    return absl::InvalidArgumentError(absl::StrCat(
        "adapter_config.json targets module ", Quoted(module.path),
        ", the weights hold no factors for it; the file is incomplete or "
        "belongs to another base model"));
  }
  if (!is_target && is_there) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the weights hold factors for module ", Quoted(module.path),
        ", adapter_config.json does not target it; weights and config must be "
        "of one adapter"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<AdapterLayout> MatchAdapter(const SafetensorsHeader& header,
                                           const AdapterConfig& config,
                                           absl::Span<const BaseModule> base) {
  if (header.tensors.empty()) {
    return absl::InvalidArgumentError("the adapter's file holds no tensors");
  }
  AdapterLayout layout;
  std::vector<EndTensors> ends(base.size());
  ASSIGN_OR_RETURN(const std::vector<AdapterParts> parts,
                   CollectParts(header, config.kind(), base, &ends, &layout));
  std::set<std::string> suffixes;
  PartChecker checker(header, config, layout);
  for (size_t i = 0; i < base.size(); ++i) {
    const BaseModule& module = base[i];
    RETURN_IF_ERROR(CheckTargeted(config, module, parts[i],
                                  IsReplacedWhole(config, base, ends, i)));
    if (parts[i].empty()) {
      continue;
    }
    ASSIGN_OR_RETURN(AdaptedModule adapted, checker.Check(module, parts[i]));
    adapted.module = i;
    const bool is_first = layout.modules.empty();
    layout.min_rank =
        is_first ? adapted.rank : std::min(layout.min_rank, adapted.rank);
    layout.max_rank = std::max(layout.max_rank, adapted.rank);
    layout.modules.push_back(adapted);
    suffixes.insert(module.path.substr(module.path.rfind('.') + 1));
  }
  RETURN_IF_ERROR(checker.Finish());
  RETURN_IF_ERROR(MatchRows(header, config, base, ends, &layout));
  for (const ReplacedRows& rows : layout.replaced) {
    const std::string& path = base[rows.module].path;
    suffixes.insert(path.substr(path.rfind('.') + 1));
  }
  layout.target_suffixes.assign(suffixes.begin(), suffixes.end());
  return layout;
}

}  // namespace stockpot
