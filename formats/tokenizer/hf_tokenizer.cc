#include "formats/tokenizer/hf_tokenizer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "base/status_macros.h"
#include "formats/json.h"
#include "formats/quoted.h"
#include "formats/tokenizer/unicode.h"

namespace stockpot {
namespace {

// Spans count in 32 bits, and a byte may grow to a few during normalization.
constexpr size_t kMaxTextBytes = 64 << 20;

}  // namespace

class HfTokenizer::State final : public DecodeState {
 public:
  State(const HfTokenizer& tokenizer, bool skip_special)
      : tokenizer_(tokenizer),
        skip_special_(skip_special),
        stream_(tokenizer.decoder_.NewStream()) {}

  void Push(int32_t id, std::string& out) override {
    if (id < 0 || id >= tokenizer_.vocab_size()) return;
    const Token& token = tokenizer_.tokens_[id];
    if (!token.exists || (skip_special_ && tokenizer_.is_special_[id])) return;
    stream_->Push(token.text, out);
  }
  void Finish(std::string& out) override { stream_->Finish(out); }

 private:
  const HfTokenizer& tokenizer_;
  bool skip_special_;
  std::unique_ptr<Decoder::Stream> stream_;
};

absl::StatusOr<std::unique_ptr<HfTokenizer>> HfTokenizer::FromJson(
    const nlohmann::json& json, const TokenizerConfig& config) {
  if (!json.is_object()) {
    return absl::InvalidArgumentError("expected a JSON object");
  }
  ASSIGN_OR_RETURN(const std::string version,
                   GetStringOr(json, "version", "1.0"));
  if (version != "1.0") {
    return absl::InvalidArgumentError(absl::StrCat(
        "version: ", Quoted(version), " is not supported; expected \"1.0\""));
  }
  const nlohmann::json null;
  const auto component = [&](const char* key) -> const nlohmann::json& {
    const nlohmann::json* found = FindNonNull(json, key);
    return found == nullptr ? null : *found;
  };
  // The model first: its refusal says most about a tokenizer that is not ours.
  ASSIGN_OR_RETURN(BpeModel model,
                   BpeModel::FromJson(component("model"), "model"));
  std::unique_ptr<HfTokenizer> result(new HfTokenizer(std::move(model)));
  ASSIGN_OR_RETURN(result->normalizer_,
                   Normalizer::FromJson(component("normalizer"), "normalizer"));
  ASSIGN_OR_RETURN(
      result->pre_tokenizer_,
      PreTokenizer::FromJson(component("pre_tokenizer"), "pre_tokenizer"));
  ASSIGN_OR_RETURN(result->added_,
                   AddedTokens::FromJson(component("added_tokens"),
                                         *result->normalizer_, "added_tokens"));
  ASSIGN_OR_RETURN(
      result->post_processor_,
      PostProcessor::FromJson(component("post_processor"), "post_processor"));
  ASSIGN_OR_RETURN(result->decoder_,
                   Decoder::FromJson(component("decoder"), "decoder"));
  RETURN_IF_ERROR(result->FillTokens());
  RETURN_IF_ERROR(result->CheckIds());
  if (config.bos_token.has_value()) {
    result->bos_id_ = result->TokenToId(*config.bos_token);
  }
  if (config.eos_token.has_value()) {
    result->eos_id_ = result->TokenToId(*config.eos_token);
  }
  return result;
}

absl::Status HfTokenizer::FillTokens() {
  int32_t size = 0;
  for (const auto& [token, id] : model_.vocab()) size = std::max(size, id + 1);
  for (const AddedToken& token : added_.tokens()) {
    size = std::max(size, token.id + 1);
  }
  tokens_.resize(size);
  is_special_.resize(size);
  for (const auto& [token, id] : model_.vocab()) tokens_[id] = {token, true};
  for (const AddedToken& token : added_.tokens()) {
    const absl::optional<int32_t> id = model_.TokenToId(token.content);
    if (id.has_value() && *id != token.id) {
      return absl::InvalidArgumentError(
          absl::StrCat("added_tokens: ", Quoted(token.content), " has the id ",
                       token.id, " and the id ", *id, " in model.vocab"));
    }
    tokens_[token.id] = {token.pattern, true};
    is_special_[token.id] = token.special;
  }
  return absl::OkStatus();
}

absl::Status HfTokenizer::CheckIds() const {
  for (const auto* ids : {&post_processor_.prefix, &post_processor_.suffix}) {
    for (const int32_t id : *ids) {
      if (id >= vocab_size() || !tokens_[id].exists) {
        return absl::InvalidArgumentError(
            absl::StrCat("post_processor: the id ", id, " names no token"));
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int32_t>> HfTokenizer::Encode(
    absl::string_view text, const EncodeOptions& options) const {
  if (text.size() > kMaxTextBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "text of ", text.size(), " bytes; at most ", kMaxTextBytes));
  }
  RETURN_IF_ERROR(ValidateUtf8(text));
  std::vector<int32_t> ids;
  if (options.add_special_tokens) ids = post_processor_.prefix;
  for (const AddedTokens::Segment& segment :
       added_.Find(text, /*normalized=*/false, options.parse_special_tokens)) {
    if (segment.token != nullptr) {
      ids.push_back(segment.token->id);
      continue;
    }
    RETURN_IF_ERROR(
        EncodePart({text.substr(segment.begin, segment.end - segment.begin),
                    segment.begin == 0},
                   options, ids));
  }
  if (options.add_special_tokens) {
    ids.insert(ids.end(), post_processor_.suffix.begin(),
               post_processor_.suffix.end());
  }
  return ids;
}

absl::Status HfTokenizer::EncodePart(const Piece& part,
                                     const EncodeOptions& options,
                                     std::vector<int32_t>& ids) const {
  ASSIGN_OR_RETURN(const std::string normalized,
                   normalizer_->Normalize(std::string(part.text)));
  const std::vector<bool>* forbidden =
      options.parse_special_tokens ? nullptr : &is_special_;
  const auto encode_word = [&](const Piece& word) {
    model_.Encode(word.text, forbidden, ids);
    return absl::OkStatus();
  };
  for (const AddedTokens::Segment& segment : added_.Find(
           normalized, /*normalized=*/true, options.parse_special_tokens)) {
    if (segment.token != nullptr) {
      ids.push_back(segment.token->id);
      continue;
    }
    const Piece piece = {
        absl::string_view(normalized)
            .substr(segment.begin, segment.end - segment.begin),
        part.is_first && segment.begin == 0};
    RETURN_IF_ERROR(pre_tokenizer_->Split(piece, encode_word));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> HfTokenizer::Decode(absl::Span<const int32_t> ids,
                                                bool skip_special) const {
  State state(*this, skip_special);
  std::string text;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "ids[", i, "] = ", ids[i], " is outside [0, ", vocab_size(), ")"));
    }
    state.Push(ids[i], text);
  }
  state.Finish(text);
  return text;
}

std::unique_ptr<DecodeState> HfTokenizer::NewDecodeState(
    bool skip_special) const {
  return std::make_unique<State>(*this, skip_special);
}

absl::optional<int32_t> HfTokenizer::TokenToId(absl::string_view token) const {
  for (const AddedToken& added : added_.tokens()) {
    if (added.content == token) return added.id;
  }
  return model_.TokenToId(token);
}

absl::optional<std::string> HfTokenizer::IdToToken(int32_t id) const {
  if (id < 0 || id >= vocab_size() || !tokens_[id].exists) {
    return absl::nullopt;
  }
  for (const AddedToken& added : added_.tokens()) {
    if (added.id == id) return added.content;
  }
  return tokens_[id].text;
}

bool HfTokenizer::IsSpecial(int32_t id) const {
  return id >= 0 && id < vocab_size() && is_special_[id];
}

}  // namespace stockpot
