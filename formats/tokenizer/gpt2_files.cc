#include "formats/tokenizer/gpt2_files.h"

#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

#include "base/status_macros.h"
#include "formats/json.h"
#include "formats/mapped_file.h"
#include "formats/quoted.h"

namespace stockpot {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxFileBytes = 64 << 20;

// Source: huggingface.co/Qwen/Qwen2-0.5B, tokenizer.json.
constexpr char kQwen2Regex[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

absl::StatusOr<Json> ReadVocab(const std::string& dir) {
  const std::string path = absl::StrCat(dir, "/vocab.json");
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxFileBytes));
  JsonLimits limits;
  limits.max_bytes = kMaxFileBytes;
  absl::StatusOr<Json> json = ParseJson(text, limits);
  if (!json.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", json.status().message()));
  }
  return json;
}

absl::StatusOr<Json> ReadMerges(const std::string& dir) {
  const std::string path = absl::StrCat(dir, "/merges.txt");
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxFileBytes));
  Json merges = Json::array();
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::EndsWith(line, "\r")) line.remove_suffix(1);
    if (line.empty()) continue;
    merges.push_back(std::string(line));
  }
  return merges;
}

// The flags that matter for finding a token; absent ones have defaults.
Json AddedTokens(const Json& vocab, const TokenizerConfig& config) {
  Json list = Json::array();
  for (Json token : config.added_tokens) {
    if (!token.contains("id")) {
      const auto it = vocab.find(token["content"].get<std::string>());
      if (it == vocab.end()) continue;  // Named, but there is no such token.
      token["id"] = *it;
    }
    list.push_back(std::move(token));
  }
  return list;
}

// What to put before and behind a text, as a post-processor.
absl::StatusOr<Json> Template(const Json& added,
                              const TokenizerConfig& config) {
  Json single = Json::array();
  Json specials = Json::object();
  const auto add = [&](const absl::optional<std::string>& name) {
    for (const Json& token : added) {
      if (!name.has_value() || token["content"] != *name) continue;
      single.push_back({{"SpecialToken", {{"id", *name}, {"type_id", 0}}}});
      specials[*name] = {{"id", *name},
                         {"ids", Json::array({token["id"]})},
                         {"tokens", Json::array({*name})}};
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(
        "tokenizer_config.json: add_bos_token or add_eos_token is true, but "
        "there is no such token");
  };
  if (config.add_bos_token.value_or(false)) {
    RETURN_IF_ERROR(add(config.bos_token));
  }
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  if (config.add_eos_token.value_or(false)) {
    RETURN_IF_ERROR(add(config.eos_token));
  }
  return Json{{"type", "TemplateProcessing"},
              {"single", std::move(single)},
              {"special_tokens", std::move(specials)}};
}

}  // namespace

absl::StatusOr<Json> ReadGpt2Files(const std::string& dir,
                                   const TokenizerConfig& config) {
  const bool is_qwen2 = config.tokenizer_class == "Qwen2Tokenizer";
  if (!is_qwen2 && config.tokenizer_class != "GPT2Tokenizer") {
    return absl::InvalidArgumentError(absl::StrCat(
        dir, ": vocab.json and merges.txt of the tokenizer_class ",
        Quoted(config.tokenizer_class),
        " are not supported, only of GPT2Tokenizer and Qwen2Tokenizer; save "
        "the tokenizer with transformers to get a tokenizer.json"));
  }
  ASSIGN_OR_RETURN(Json vocab, ReadVocab(dir));
  ASSIGN_OR_RETURN(Json merges, ReadMerges(dir));
  Json added = AddedTokens(vocab, config);
  Json byte_level = {{"type", "ByteLevel"},
                     {"add_prefix_space", config.add_prefix_space},
                     {"trim_offsets", true},
                     {"use_regex", !is_qwen2}};
  Json result;
  result["version"] = "1.0";
  if (is_qwen2) {
    result["normalizer"] = {{"type", "NFC"}};
    const Json split = {{"type", "Split"},
                        {"pattern", {{"Regex", kQwen2Regex}}},
                        {"behavior", "Isolated"},
                        {"invert", false}};
    result["pre_tokenizer"] = {{"type", "Sequence"},
                               {"pretokenizers", {split, byte_level}}};
  } else {
    result["pre_tokenizer"] = byte_level;
  }
  ASSIGN_OR_RETURN(result["post_processor"], Template(added, config));
  result["decoder"] = std::move(byte_level);
  result["added_tokens"] = std::move(added);
  result["model"] = {{"type", "BPE"},
                     {"vocab", std::move(vocab)},
                     {"merges", std::move(merges)}};
  return result;
}

}  // namespace stockpot
