#include "formats/tokenizer/tokenizer_config.h"

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

#include "base/status_macros.h"
#include "formats/json.h"
#include "formats/mapped_file.h"
#include "formats/tokenizer/bpe_model.h"

namespace stockpot {
namespace {

// Chat templates and thousands of added tokens fit.
constexpr size_t kMaxConfigBytes = 8 << 20;

using Json = nlohmann::json;

// The object in `dir`/`name`; null when there is no such file.
absl::StatusOr<Json> ReadOptional(const std::string& dir,
                                  absl::string_view name) {
  const std::string path = absl::StrCat(dir, "/", name);
  absl::StatusOr<std::string> text = ReadFile(path, kMaxConfigBytes);
  if (absl::IsNotFound(text.status())) return Json();
  if (!text.ok()) return text.status();
  JsonLimits limits;
  limits.max_bytes = kMaxConfigBytes;
  absl::StatusOr<Json> json = ParseJson(*text, limits);
  if (!json.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", json.status().message()));
  }
  if (!json->is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": expected a JSON object"));
  }
  return json;
}

// A token is written as its text or as {"content": text, ..}.
absl::optional<std::string> TokenText(const Json* json) {
  if (json == nullptr) return absl::nullopt;
  if (json->is_object()) json = FindNonNull(*json, "content");
  if (json == nullptr || !json->is_string()) return absl::nullopt;
  return json->get<std::string>();
}

class ConfigReader {
 public:
  explicit ConfigReader(TokenizerConfig& config) : config_(config) {}

  // Adds or completes the entry of the token `content`.
  Json& Entry(const std::string& content) {
    for (Json& token : config_.added_tokens) {
      if (token["content"] == content) return token;
    }
    config_.added_tokens.push_back(Json{{"content", content}});
    return config_.added_tokens.back();
  }

  absl::Status AddDecoder(const Json& config) {
    const Json* decoder = FindNonNull(config, "added_tokens_decoder");
    if (decoder == nullptr) return absl::OkStatus();
    for (const auto& [key, value] : decoder->items()) {
      int64_t id = -1;
      const absl::optional<std::string> content = TokenText(&value);
      if (!absl::SimpleAtoi(key, &id) || id < 0 || id >= kMaxVocabSize ||
          !content.has_value()) {
        return absl::InvalidArgumentError(
            absl::StrCat("tokenizer_config.json: added_tokens_decoder[\"", key,
                         "\"]: expected a token id and a token"));
      }
      Json& entry = Entry(*content);
      entry.update(value);
      entry["id"] = id;
    }
    return absl::OkStatus();
  }

  absl::Status AddIds(const Json& added) {
    for (const auto& [content, id] : added.items()) {
      if (!id.is_number_integer() || id < 0 || id >= kMaxVocabSize) {
        return absl::InvalidArgumentError(absl::StrCat(
            "added_tokens.json: \"", content, "\": expected a token id"));
      }
      Json& entry = Entry(content);
      if (!entry.contains("id")) entry["id"] = id;
    }
    return absl::OkStatus();
  }

  // Every token with a role is special. The first file that names a role wins.
  void AddRoles(const Json& json) {
    for (const char* role : {"bos_token", "eos_token", "unk_token", "pad_token",
                             "sep_token", "cls_token", "mask_token"}) {
      AddSpecial(FindNonNull(json, role));
    }
    if (const Json* more = FindNonNull(json, "additional_special_tokens")) {
      for (const Json& token : *more) AddSpecial(&token);
    }
    if (!config_.bos_token.has_value()) {
      config_.bos_token = TokenText(FindNonNull(json, "bos_token"));
    }
    if (!config_.eos_token.has_value()) {
      config_.eos_token = TokenText(FindNonNull(json, "eos_token"));
    }
  }

 private:
  void AddSpecial(const Json* token) {
    const absl::optional<std::string> content = TokenText(token);
    if (!content.has_value() || content->empty()) return;
    Json& entry = Entry(*content);
    entry["special"] = true;
    if (!token->is_object()) return;
    for (const char* flag : {"lstrip", "rstrip", "single_word", "normalized"}) {
      if (!entry.contains(flag) && token->contains(flag)) {
        entry[flag] = (*token)[flag];
      }
    }
  }

  TokenizerConfig& config_;
};

absl::StatusOr<absl::optional<bool>> ReadFlag(const Json& json,
                                              absl::string_view key) {
  if (FindNonNull(json, key) == nullptr) return absl::optional<bool>();
  ASSIGN_OR_RETURN(const bool value,
                   GetBool(json, key, "tokenizer_config.json"));
  return absl::optional<bool>(value);
}

}  // namespace

absl::StatusOr<TokenizerConfig> TokenizerConfig::Load(const std::string& dir) {
  ASSIGN_OR_RETURN(Json json, ReadOptional(dir, "tokenizer_config.json"));
  ASSIGN_OR_RETURN(const Json map,
                   ReadOptional(dir, "special_tokens_map.json"));
  ASSIGN_OR_RETURN(const Json added, ReadOptional(dir, "added_tokens.json"));
  if (json.is_null()) json = Json::object();

  TokenizerConfig config;
  ASSIGN_OR_RETURN(
      config.tokenizer_class,
      GetStringOr(json, "tokenizer_class", "", "tokenizer_config.json"));
  config.tokenizer_class =
      std::string(absl::StripSuffix(config.tokenizer_class, "Fast"));
  if (config.tokenizer_class.empty()) {
    ASSIGN_OR_RETURN(const Json model, ReadOptional(dir, "config.json"));
    const Json* type = FindNonNull(model, "model_type");
    if (type != nullptr && *type == "gpt2") {
      config.tokenizer_class = "GPT2Tokenizer";
    } else if (type != nullptr && *type == "qwen2") {
      config.tokenizer_class = "Qwen2Tokenizer";
    }
  }
  ASSIGN_OR_RETURN(config.add_bos_token, ReadFlag(json, "add_bos_token"));
  ASSIGN_OR_RETURN(config.add_eos_token, ReadFlag(json, "add_eos_token"));
  ASSIGN_OR_RETURN(
      config.add_prefix_space,
      GetBoolOr(json, "add_prefix_space", false, "tokenizer_config.json"));

  ConfigReader reader(config);
  RETURN_IF_ERROR(reader.AddDecoder(json));
  RETURN_IF_ERROR(reader.AddIds(added));
  reader.AddRoles(json);
  reader.AddRoles(map);
  return config;
}

}  // namespace stockpot
