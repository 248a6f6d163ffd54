#include "formats/adapter_rows.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

#include "base/status_macros.h"
#include "formats/quoted.h"

namespace stockpot {
namespace {

constexpr char kOneAdapter[] = "weights and config must be of one adapter";

template <typename... Args>
absl::Status TensorError(absl::string_view name, const Args&... args) {
  return absl::InvalidArgumentError(
      absl::StrCat("adapter tensor ", Quoted(name), ": ", args...));
}

bool HoldsRowsAlone(const AdapterConfig& config) {
  return config.kind() == AdapterKind::kTrainableTokens;
}

const char* TokensField(const AdapterConfig& config) {
  return HoldsRowsAlone(config) ? "token_indices" : "trainable_token_indices";
}

template <typename... Args>
absl::Status TokensError(const AdapterConfig& config, const Args&... args) {
  return absl::InvalidArgumentError(absl::StrCat(
      "adapter_config.json: field \"", TokensField(config), "\" ", args...));
}

bool NamesSaved(const AdapterConfig& config, const BaseModule& module) {
  const std::vector<std::string>& names = config.end_options().modules_to_save;
  return module.is_end() &&
         std::any_of(names.begin(), names.end(), [&](absl::string_view name) {
           return EndsPath(module.path, name);
         });
}

// Whether `trained` is of the module, an embedding or a head.
absl::StatusOr<bool> IsMeant(const AdapterConfig& config,
                             const TrainedTokens& trained,
                             const BaseModule& module) {
  if (HoldsRowsAlone(config) && !config.target_modules().empty()) {
    return config.Targets(module.path, module.is_end());
  }
  return trained.module.empty() ? module.is_embedding
                                : EndsPath(module.path, trained.module);
}

// What the config says of one module's tokens; null: nothing.
absl::StatusOr<const TrainedTokens*> TokensOf(const AdapterConfig& config,
                                              const BaseModule& module) {
  const TrainedTokens* found = nullptr;
  for (const TrainedTokens& trained : config.end_options().trained_tokens) {
    ASSIGN_OR_RETURN(const bool is_meant, IsMeant(config, trained, module));
    if (is_meant && found != nullptr) {
      return TokensError(config, "names module ", Quoted(module.path),
                         " twice; name it once");
    }
    if (is_meant) {
      found = &trained;
    }
  }
  return found;
}

// Checks the fields of one adapter against its tensors, end by end.
class RowMatcher {
 public:
  RowMatcher(const SafetensorsHeader& header, const AdapterConfig& config,
             absl::Span<const BaseModule> base,
             const std::vector<EndTensors>& ends, AdapterLayout* layout)
      : header_(header),
        config_(config),
        base_(base),
        ends_(ends),
        layout_(layout) {}

  absl::Status Match() {
    RETURN_IF_ERROR(CheckTokenModules());
    for (size_t m = 0; m < base_.size(); ++m) {
      if (!base_[m].is_end()) {
        continue;
      }
      RETURN_IF_ERROR(MatchTokens(m));
      RETURN_IF_ERROR(MatchWeight(m));
    }
    return CheckNotAdapted();
  }

 private:
  const TensorInfo& Tensor(size_t index) const {
    return header_.tensors[index];
  }

  // PEFT fails when a name means no module.
  absl::Status CheckTokenModules() const {
    for (const TrainedTokens& trained : config_.end_options().trained_tokens) {
      bool is_there = false;
      for (const BaseModule& module : base_) {
        if (module.is_end()) {
          ASSIGN_OR_RETURN(const bool is_meant,
                           IsMeant(config_, trained, module));
          is_there = is_there || is_meant;
        }
      }
      if (!is_there && HoldsRowsAlone(config_)) {
        return absl::InvalidArgumentError(
            "adapter_config.json: field \"target_modules\" names neither the "
            "embedding nor the head of the base model. Was the adapter trained "
            "on another base model?");
      }
      if (!is_there) {
        return TokensError(config_, "names module ", Quoted(trained.module),
                           ", which the base model has not. Was the adapter "
                           "trained on another base model?");
      }
    }
    return absl::OkStatus();
  }

  // A tied head has the embedding's rows, unless the config gives it others.
  absl::StatusOr<size_t> EmbeddingToFollow(const BaseModule& module,
                                           const TrainedTokens* own) const {
    if (!module.is_output_head || !module.is_tied) {
      return base_.size();
    }
    for (size_t e = 0; e < base_.size(); ++e) {
      if (!base_[e].is_embedding) {
        continue;
      }
      ASSIGN_OR_RETURN(const TrainedTokens* tokens,
                       TokensOf(config_, base_[e]));
      if (tokens != nullptr &&
          (own == nullptr || own->tokens == tokens->tokens)) {
        return e;
      }
    }
    return base_.size();
  }

  absl::Status MatchTokens(size_t m) {
    const BaseModule& module = base_[m];
    ASSIGN_OR_RETURN(const TrainedTokens* trained, TokensOf(config_, module));
    ASSIGN_OR_RETURN(const size_t followed, EmbeddingToFollow(module, trained));
    size_t tensor = ends_[m].tokens;
    if (followed < base_.size()) {
      RETURN_IF_ERROR(TakeCopy(tensor, ends_[followed].tokens));
      ASSIGN_OR_RETURN(trained, TokensOf(config_, base_[followed]));
      tensor = ends_[followed].tokens;
    }
    if (trained == nullptr && tensor == kNoTensor) {
      return absl::OkStatus();
    }
    if (trained == nullptr) {
      return TensorError(Tensor(tensor).name, "adapter_config.json has no ",
                         TokensField(config_), " of this module; ",
                         kOneAdapter);
    }
    if (tensor == kNoTensor) {
      return TokensError(config_, "names rows of ", Quoted(module.path),
                         ", the weights hold no ",
                         HoldsRowsAlone(config_) ? "" : "token_adapter.",
                         "trainable_tokens_delta for it; ", kOneAdapter);
    }
    RETURN_IF_ERROR(CheckTokens(module, *trained, Tensor(tensor)));
    layout_->replaced.push_back({m, tensor, trained->tokens});
    return absl::OkStatus();
  }

  // `tensor` is what the file holds of a head that follows the embedding.
  absl::Status TakeCopy(size_t tensor, size_t original) {
    if (tensor == kNoTensor) {
      return absl::OkStatus();
    }
    // The embedding's rows alone are saved under both names.
    if (!HoldsRowsAlone(config_) || original == kNoTensor) {
      return TensorError(Tensor(tensor).name,
                         "the head shares its weight with the embedding, "
                         "whose trained rows are its own; ",
                         kOneAdapter);
    }
    const TensorInfo& copy = Tensor(tensor);
    if (copy.shape != Tensor(original).shape ||
        copy.dtype != Tensor(original).dtype) {
      return TensorError(copy.name, "expected shape and dtype of ",
                         Quoted(Tensor(original).name),
                         ", whose rows the head shares; ", kOneAdapter);
    }
    layout_->rows_copies.push_back({tensor, original});
    return absl::OkStatus();
  }

  absl::Status CheckTokens(const BaseModule& module,
                           const TrainedTokens& trained,
                           const TensorInfo& tensor) const {
    for (const int64_t token : trained.tokens) {
      if (token >= module.vocabulary()) {
        return TokensError(config_, "names token ", token,
                           ", the base model has ", module.vocabulary(),
                           "; adapters of a model whose vocabulary was resized "
                           "need that model");
      }
    }
    const std::vector<int64_t> expected = {
        static_cast<int64_t>(trained.tokens.size()), module.hidden()};
    if (tensor.shape != expected) {
      return TensorError(tensor.name, "expected shape ", ShapeString(expected),
                         " as ", TokensField(config_),
                         " says for this module, got ",
                         ShapeString(tensor.shape));
    }
    return absl::OkStatus();
  }

  absl::Status CheckWhole(const BaseModule& module,
                          const TensorInfo& tensor) const {
    const std::vector<int64_t> expected = {module.vocabulary(),
                                           module.hidden()};
    if (tensor.shape != expected) {
      return TensorError(tensor.name, "expected shape ", ShapeString(expected),
                         " of the base model's ", Quoted(module.path), ", got ",
                         ShapeString(tensor.shape),
                         "; adapters of a model whose vocabulary was resized "
                         "need that model");
    }
    return absl::OkStatus();
  }

  absl::Status MatchWeight(size_t m) {
    const EndTensors& end = ends_[m];
    for (const size_t tensor : {end.weight, end.base_layer}) {
      if (tensor != kNoTensor) {
        RETURN_IF_ERROR(CheckWhole(base_[m], Tensor(tensor)));
      }
    }
    const bool is_whole = IsReplacedWhole(config_, base_, ends_, m);
    if (is_whole && end.weight == kNoTensor) {
      return absl::InvalidArgumentError(
          absl::StrCat("adapter_config.json: field \"modules_to_save\" names ",
                       Quoted(base_[m].path),
                       ", the weights hold no tensor \"base_model.model.",
                       base_[m].path, ".weight\"; ", kOneAdapter));
    }
    if (is_whole) {
      layout_->replaced.push_back({m, end.weight, {}});
    } else if (end.weight != kNoTensor) {
      layout_->base_copies.push_back({m, end.weight});
    }
    if (end.base_layer != kNoTensor) {
      layout_->base_copies.push_back({m, end.base_layer});
    }
    return absl::OkStatus();
  }

  absl::Status CheckNotAdapted() const {
    for (size_t i = 0; i < layout_->replaced.size(); ++i) {
      const ReplacedRows& rows = layout_->replaced[i];
      const bool is_twice =
          i > 0 && layout_->replaced[i - 1].module == rows.module;
      const bool is_adapted = std::any_of(
          layout_->modules.begin(), layout_->modules.end(),
          [&](const AdaptedModule& a) { return a.module == rows.module; });
      if (is_twice || is_adapted) {
        return TensorError(
            Tensor(rows.tensor).name, "replaces rows of ",
            Quoted(base_[rows.module].path), ", which the adapter ",
            is_adapted ? "adapts with factors" : "replaces as a whole",
            " as well; PEFT defines no such adapter");
      }
    }
    return absl::OkStatus();
  }

  const SafetensorsHeader& header_;
  const AdapterConfig& config_;
  const absl::Span<const BaseModule> base_;
  const std::vector<EndTensors>& ends_;
  AdapterLayout* const layout_;
};

// What follows the module's path.
bool IsTokensName(absl::string_view rest, AdapterKind kind) {
  absl::ConsumeSuffix(&rest, ".default");
  return rest == (kind == AdapterKind::kTrainableTokens
                      ? ".trainable_tokens_delta"
                      : ".token_adapter.trainable_tokens_delta");
}

}  // namespace

absl::StatusOr<bool> TakeEndTensor(const SafetensorsHeader& header,
                                   size_t index, AdapterKind kind,
                                   absl::Span<const BaseModule> base,
                                   std::vector<EndTensors>* ends) {
  const absl::string_view full = header.tensors[index].name;
  absl::string_view rest = full;
  if (!absl::ConsumePrefix(&rest, "base_model.model.")) {
    return false;
  }
  for (size_t m = 0; m < base.size(); ++m) {
    absl::string_view part = rest;
    if (!base[m].is_end() || !absl::ConsumePrefix(&part, base[m].path)) {
      continue;
    }
    EndTensors& end = (*ends)[m];
    size_t* place = nullptr;
    if (part == ".weight") {
      place = &end.weight;
    } else if (part == ".base_layer.weight") {
      place = &end.base_layer;
    } else if (IsTokensName(part, kind)) {
      place = &end.tokens;
    } else {
      continue;
    }
    if (*place != kNoTensor) {
      return TensorError(full, "the same rows are also stored as ",
                         Quoted(header.tensors[*place].name));
    }
    *place = index;
    return true;
  }
  return false;
}

bool FollowsEmbedding(const AdapterConfig& config, const BaseModule& module) {
  return config.end_options().ensure_weight_tying && module.is_output_head &&
         module.is_tied;
}

bool IsReplacedWhole(const AdapterConfig& config,
                     absl::Span<const BaseModule> base,
                     const std::vector<EndTensors>& ends, size_t module) {
  if (NamesSaved(config, base[module])) {
    return true;
  }
  return FollowsEmbedding(config, base[module]) &&
         ends[module].weight != kNoTensor &&
         std::any_of(base.begin(), base.end(), [&](const BaseModule& other) {
           return other.is_embedding && NamesSaved(config, other);
         });
}

absl::Status MatchRows(const SafetensorsHeader& header,
                       const AdapterConfig& config,
                       absl::Span<const BaseModule> base,
                       const std::vector<EndTensors>& ends,
                       AdapterLayout* layout) {
  return RowMatcher(header, config, base, ends, layout).Match();
}

}  // namespace stockpot
