#include "formats/end_options.h"

#include <array>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "base/status_macros.h"
#include "formats/adapter_kind.h"
#include "formats/json.h"
#include "formats/quoted.h"

namespace stockpot {
namespace {

using nlohmann::ordered_json;

constexpr char kSave[] = "modules_to_save";
constexpr char kTokens[] = "trainable_token_indices";
constexpr char kTokensAlone[] = "token_indices";
constexpr int64_t kMaxToken = int64_t{1} << 31;
constexpr size_t kMaxNames = 64;
constexpr size_t kMaxNameBytes = 256;

template <typename... Args>
absl::Status FieldError(absl::string_view key, const Args&... args) {
  return absl::InvalidArgumentError(
      absl::StrCat("field \"", key, "\" ", args...));
}

// What the families that are served call their ends.
bool IsEndName(absl::string_view name) {
  constexpr std::array<absl::string_view, 3> kNames = {"embed_tokens", "wte",
                                                       "lm_head"};
  const absl::string_view last = name.substr(name.rfind('.') + 1);
  for (absl::string_view end : kNames) {
    if (last == end) {
      return true;
    }
  }
  return false;
}

absl::StatusOr<std::vector<std::string>> ReadSaved(const ordered_json& root) {
  std::vector<std::string> names;
  const ordered_json* value = FindNonNull(root, kSave);
  if (value == nullptr) {
    return names;
  }
  if (!value->is_array() || value->size() > kMaxNames) {
    return FieldError(kSave, "must be a list of at most ", kMaxNames, " names");
  }
  for (const ordered_json& name : *value) {
    if (!name.is_string() ||
        name.get_ref<const std::string&>().size() > kMaxNameBytes) {
      return FieldError(kSave, "must hold names of at most ", kMaxNameBytes,
                        " bytes");
    }
    names.push_back(name.get<std::string>());
    if (!IsEndName(names.back())) {
      return absl::UnimplementedError(absl::StrCat(
          "field \"", kSave, "\": ", Quoted(names.back()),
          " is replaced as a whole, which is served of the embedding "
          "(\"embed_tokens\", \"wte\") and of \"lm_head\" only; train without "
          "it, or adapt it through target_modules"));
    }
  }
  return names;
}

absl::StatusOr<TrainedTokens> ReadTokens(absl::string_view key,
                                         std::string module,
                                         const ordered_json& list) {
  TrainedTokens trained{std::move(module), {}};
  // None of a module would read as all of its rows.
  if (!list.is_array() || list.empty() ||
      list.size() > EndOptions::kMaxTokens) {
    return FieldError(key, "must list 1 to ", EndOptions::kMaxTokens,
                      " token ids of a module");
  }
  absl::flat_hash_set<int64_t> seen;
  for (const ordered_json& token : list) {
    if (!token.is_number_unsigned() ||
        token.get<uint64_t>() >= static_cast<uint64_t>(kMaxToken)) {
      return FieldError(key, "must hold token ids in [0, ", kMaxToken, ")");
    }
    trained.tokens.push_back(token.get<int64_t>());
    if (!seen.insert(trained.tokens.back()).second) {
      return FieldError(key, "names token ", trained.tokens.back(),
                        " twice, so that it is not known which row is meant");
    }
  }
  return trained;
}

absl::StatusOr<std::vector<TrainedTokens>> ReadAllTokens(
    const ordered_json& root) {
  std::vector<TrainedTokens> all;
  const ordered_json* value = FindNonNull(root, kTokens);
  if (value == nullptr || value->empty()) {
    return all;
  }
  if (!value->is_object()) {
    ASSIGN_OR_RETURN(TrainedTokens trained, ReadTokens(kTokens, "", *value));
    all.push_back(std::move(trained));
    return all;
  }
  if (value->size() > kMaxNames) {
    return FieldError(kTokens, "names more than ", kMaxNames, " modules");
  }
  for (const auto& [module, list] : value->items()) {
    if (!IsEndName(module) || module.size() > kMaxNameBytes) {
      return FieldError(kTokens, "names module ", Quoted(module),
                        ", which is neither an embedding (\"embed_tokens\", "
                        "\"wte\") nor \"lm_head\"");
    }
    ASSIGN_OR_RETURN(TrainedTokens trained, ReadTokens(kTokens, module, list));
    all.push_back(std::move(trained));
  }
  return all;
}

// Of TRAINABLE_TOKENS, whose other fields PEFT would not read.
absl::StatusOr<EndOptions> ReadTokensAlone(const ordered_json& root) {
  for (const char* key : {kSave, kTokens}) {
    const ordered_json* value = FindNonNull(root, key);
    if (value != nullptr && !value->empty()) {
      return FieldError(key,
                        "is none of TRAINABLE_TOKENS, which lists its tokens "
                        "in \"",
                        kTokensAlone, "\"; take it out");
    }
  }
  const ordered_json* list = FindNonNull(root, kTokensAlone);
  EndOptions options;
  ASSIGN_OR_RETURN(
      TrainedTokens trained,
      ReadTokens(kTokensAlone, "", list == nullptr ? ordered_json() : *list));
  options.trained_tokens.push_back(std::move(trained));
  return options;
}

}  // namespace

absl::StatusOr<EndOptions> ReadEndOptions(const ordered_json& root) {
  ASSIGN_OR_RETURN(const std::string peft_type, GetString(root, "peft_type"));
  if (AdapterKindOf(peft_type) == AdapterKind::kTrainableTokens) {
    return ReadTokensAlone(root);
  }
  EndOptions options;
  ASSIGN_OR_RETURN(options.modules_to_save, ReadSaved(root));
  ASSIGN_OR_RETURN(options.trained_tokens, ReadAllTokens(root));
  ASSIGN_OR_RETURN(options.ensure_weight_tying,
                   GetBoolOr(root, "ensure_weight_tying", false));
  return options;
}

bool EndsPath(absl::string_view path, absl::string_view name) {
  return !name.empty() && absl::EndsWith(path, name);
}

}  // namespace stockpot
