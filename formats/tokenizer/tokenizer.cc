#include "formats/tokenizer/tokenizer.h"

#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "base/status_macros.h"
#include "formats/json.h"
#include "formats/mapped_file.h"
#include "formats/tokenizer/gpt2_files.h"
#include "formats/tokenizer/hf_tokenizer.h"
#include "formats/tokenizer/sentencepiece_model.h"
#include "formats/tokenizer/sentencepiece_tokenizer.h"
#include "formats/tokenizer/tokenizer_config.h"

namespace stockpot {
namespace {

constexpr size_t kMaxTokenizerBytes = 64 << 20;

absl::Status At(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(),
                      absl::StrCat(path, ": ", status.message()));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> FromJsonText(
    absl::string_view text, const std::string& path,
    const TokenizerConfig& config) {
  JsonLimits limits;
  limits.max_bytes = kMaxTokenizerBytes;
  absl::StatusOr<nlohmann::json> json = ParseJson(text, limits);
  if (!json.ok()) return At(path, json.status());
  auto result = HfTokenizer::FromJson(*json, config);
  if (!result.ok()) return At(path, result.status());
  return std::unique_ptr<Tokenizer>(*std::move(result));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> FromModelBytes(
    absl::string_view bytes, const std::string& path,
    const TokenizerConfig& config) {
  absl::StatusOr<SentencePieceModel> model = SentencePieceModel::Parse(bytes);
  if (!model.ok()) return At(path, model.status());
  auto result = SentencePieceTokenizer::FromModel(*std::move(model), config);
  if (!result.ok()) return At(path, result.status());
  return std::unique_ptr<Tokenizer>(*std::move(result));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(
    const std::string& dir) {
  ASSIGN_OR_RETURN(const TokenizerConfig config, TokenizerConfig::Load(dir));

  const std::string json_path = absl::StrCat(dir, "/tokenizer.json");
  const auto json_text = ReadFile(json_path, kMaxTokenizerBytes);
  if (json_text.ok()) return FromJsonText(*json_text, json_path, config);
  if (!absl::IsNotFound(json_text.status())) return json_text.status();

  const std::string model_path = absl::StrCat(dir, "/tokenizer.model");
  const auto model_bytes = ReadFile(model_path, kMaxTokenizerBytes);
  if (model_bytes.ok()) {
    return FromModelBytes(*model_bytes, model_path, config);
  }
  if (!absl::IsNotFound(model_bytes.status())) return model_bytes.status();

  const std::string vocab_path = absl::StrCat(dir, "/vocab.json");
  const auto vocab = MappedFile::Open(vocab_path);
  if (absl::IsNotFound(vocab.status())) {
    return absl::NotFoundError(absl::StrCat(
        dir,
        ": no tokenizer; looked for tokenizer.json, tokenizer.model, and "
        "vocab.json with merges.txt"));
  }
  if (!vocab.ok()) return vocab.status();
  ASSIGN_OR_RETURN(const nlohmann::json json, ReadGpt2Files(dir, config));
  auto result = HfTokenizer::FromJson(json, config);
  if (!result.ok()) return At(dir, result.status());
  return std::unique_ptr<Tokenizer>(*std::move(result));
}

}  // namespace stockpot
