#include "formats/adapter_layout.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
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
#include "formats/quoted.h"

namespace stockpot {
namespace {

constexpr absl::string_view kPrefix = "base_model.model.";
constexpr size_t kNone = std::numeric_limits<size_t>::max();
constexpr size_t kNumSuggestions = 3;

template <typename... Args>
absl::Status TensorError(absl::string_view name, const Args&... args) {
  return absl::InvalidArgumentError(
      absl::StrCat("adapter tensor ", Quoted(name), ": ", args...));
}

enum class Factor { kA, kB };

// A tensor's name taken apart.
struct FactorName {
  absl::string_view module_path;
  Factor factor = Factor::kA;
};

// Refuses by kind the tensors that PEFT saves beside plain factors.
absl::Status RefuseOtherKinds(absl::string_view name) {
  struct Kind {
    absl::string_view part;
    absl::string_view sentence;
  };
  constexpr std::array<Kind, 6> kKinds = {{
      {".lora_embedding_", "adapted embeddings are not supported"},
      {".lora_magnitude_vector", "DoRA is not supported"},
      {".lora_B.bias", "a bias on lora_B is not supported"},
      {".modules_to_save.", "whole trained modules are not supported"},
      {".token_adapter.", "trained embedding rows are not supported"},
      {".lora_diag", "KaSA is not supported"},
  }};
  for (const Kind& kind : kKinds) {
    if (absl::StrContains(name, kind.part)) {
      return absl::UnimplementedError(
          absl::StrCat("adapter tensor ", Quoted(name), ": ", kind.sentence,
                       "; train a plain LoRA of linear layers"));
    }
  }
  return absl::OkStatus();
}

// "base_model.model.<path>.lora_A.weight", also "....lora_A.default.weight".
absl::StatusOr<FactorName> ParseName(absl::string_view name) {
  RETURN_IF_ERROR(RefuseOtherKinds(name));
  absl::string_view rest = name;
  const bool has_prefix = absl::ConsumePrefix(&rest, kPrefix);
  if (has_prefix && absl::ConsumeSuffix(&rest, ".weight")) {
    absl::ConsumeSuffix(&rest, ".default");
    FactorName parsed;
    const bool is_a = absl::ConsumeSuffix(&rest, ".lora_A");
    if ((is_a || absl::ConsumeSuffix(&rest, ".lora_B")) && !rest.empty()) {
      parsed.module_path = rest;
      parsed.factor = is_a ? Factor::kA : Factor::kB;
      return parsed;
    }
  }
  if (has_prefix && !absl::StrContains(name, ".lora_")) {
    return absl::UnimplementedError(absl::StrCat(
        "adapter tensor ", Quoted(name),
        ": weights or biases of the base model itself (modules_to_save, bias, "
        "resized embeddings) are not supported; save only the LoRA factors"));
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

// The factors found for one base module.
struct Pair {
  size_t a = kNone;
  size_t b = kNone;
};

absl::Status CheckDtypeAndRank(const TensorInfo& tensor) {
  if (tensor.dtype != Dtype::kF32 && tensor.dtype != Dtype::kF16 &&
      tensor.dtype != Dtype::kBF16) {
    return TensorError(tensor.name, "dtype ", DtypeName(tensor.dtype),
                       " is not supported; supported are F32, F16 and BF16");
  }
  if (tensor.shape.size() != 2) {
    return TensorError(tensor.name, "expected two dimensions, got shape ",
                       ShapeString(tensor.shape));
  }
  return absl::OkStatus();
}

// Sorts the file's tensors into pairs, one entry per base module.
absl::StatusOr<std::vector<Pair>> CollectPairs(
    const SafetensorsHeader& header, absl::Span<const BaseModule> base) {
  absl::flat_hash_map<absl::string_view, size_t> by_path;
  for (size_t i = 0; i < base.size(); ++i) {
    by_path[base[i].path] = i;
  }
  std::vector<Pair> pairs(base.size());
  for (size_t i = 0; i < header.tensors.size(); ++i) {
    const TensorInfo& tensor = header.tensors[i];
    ASSIGN_OR_RETURN(const FactorName name, ParseName(tensor.name));
    RETURN_IF_ERROR(CheckDtypeAndRank(tensor));
    auto it = by_path.find(name.module_path);
    if (it == by_path.end()) {
      return TensorError(tensor.name, "the base model has no linear layer ",
                         Quoted(name.module_path), "; the nearest are ",
                         NearestModules(name.module_path, base),
                         ". Was the adapter trained on another base model?");
    }
    size_t& slot =
        name.factor == Factor::kA ? pairs[it->second].a : pairs[it->second].b;
    if (slot != kNone) {
      return TensorError(tensor.name, "the same factor is also stored as ",
                         Quoted(header.tensors[slot].name));
    }
    slot = i;
  }
  return pairs;
}

// Checks the shapes of one module's pair and returns it.
absl::StatusOr<AdaptedModule> CheckPair(const SafetensorsHeader& header,
                                        const AdapterConfig& config,
                                        const BaseModule& module,
                                        const Pair& pair) {
  if (pair.a == kNone || pair.b == kNone) {
    const TensorInfo& there = header.tensors[pair.a == kNone ? pair.b : pair.a];
    return TensorError(there.name, "its partner ",
                       pair.a == kNone ? "lora_A" : "lora_B", " is missing");
  }
  const TensorInfo& a = header.tensors[pair.a];
  const TensorInfo& b = header.tensors[pair.b];
  const int64_t rank = a.shape[0];
  if (rank < 1 || rank > AdapterConfig::kMaxRank) {
    return TensorError(a.name, "rank ", rank, " is not in [1, ",
                       AdapterConfig::kMaxRank, "]");
  }
  if (a.shape[1] != module.in) {
    return TensorError(a.name, "expected shape [rank, ", module.in,
                       "] for the input side of this layer, got ",
                       ShapeString(a.shape));
  }
  if (b.shape[0] != module.out) {
    return TensorError(b.name, "expected shape [", module.out, ", ", rank,
                       "] for the output side of this layer, got ",
                       ShapeString(b.shape));
  }
  if (b.shape[1] != rank) {
    return TensorError(b.name, "expected rank ", rank,
                       " as its lora_A has, got shape ", ShapeString(b.shape));
  }
  AdaptedModule adapted;
  adapted.a = pair.a;
  adapted.b = pair.b;
  adapted.rank = rank;
  ASSIGN_OR_RETURN(adapted.scale, config.Scaling(module.path, rank));
  return adapted;
}

absl::Status CheckTargeted(const AdapterConfig& config,
                           const BaseModule& module, const Pair& pair) {
  ASSIGN_OR_RETURN(const bool is_target,
                   config.Targets(module.path, module.is_output_head));
  const bool is_there = pair.a != kNone || pair.b != kNone;
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

void AddToTotals(const BaseModule& module, const AdaptedModule& adapted,
                 AdapterLayout* layout) {
  const bool is_first = layout->modules.empty();
  layout->num_parameters += adapted.rank * (module.in + module.out);
  layout->min_rank =
      is_first ? adapted.rank : std::min(layout->min_rank, adapted.rank);
  layout->max_rank = std::max(layout->max_rank, adapted.rank);
  layout->modules.push_back(adapted);
}

}  // namespace

absl::StatusOr<AdapterLayout> MatchAdapter(const SafetensorsHeader& header,
                                           const AdapterConfig& config,
                                           absl::Span<const BaseModule> base) {
  if (header.tensors.empty()) {
    return absl::InvalidArgumentError("the adapter's file holds no tensors");
  }
  ASSIGN_OR_RETURN(const std::vector<Pair> pairs, CollectPairs(header, base));
  AdapterLayout layout;
  std::set<std::string> suffixes;
  for (size_t i = 0; i < base.size(); ++i) {
    const BaseModule& module = base[i];
    const Pair& pair = pairs[i];
    RETURN_IF_ERROR(CheckTargeted(config, module, pair));
    if (pair.a == kNone && pair.b == kNone) {
      continue;
    }
    ASSIGN_OR_RETURN(AdaptedModule adapted,
                     CheckPair(header, config, module, pair));
    adapted.module = i;
    AddToTotals(module, adapted, &layout);
    suffixes.insert(module.path.substr(module.path.rfind('.') + 1));
  }
  layout.target_suffixes.assign(suffixes.begin(), suffixes.end());
  return layout;
}

}  // namespace stockpot
