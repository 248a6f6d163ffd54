#include "formats/tokenizer/decoder.h"

#include <cstddef>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "base/status_macros.h"
#include "formats/json.h"
#include "formats/quoted.h"
#include "formats/tokenizer/byte_alphabet.h"
#include "formats/tokenizer/unicode.h"

namespace stockpot {
namespace {

absl::StatusOr<StripSpec> ReadStrip(const nlohmann::json& json,
                                    const std::string& where) {
  StripSpec spec;
  ASSIGN_OR_RETURN(spec.content, GetString(json, "content", where));
  size_t end = 0;
  if (!spec.content.empty()) NextChar(spec.content, &end);
  if (end == 0 || end != spec.content.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ".content: expected one character"));
  }
  constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
  ASSIGN_OR_RETURN(spec.start, GetInt(json, "start", 0, kMax, where));
  ASSIGN_OR_RETURN(spec.stop, GetInt(json, "stop", 0, kMax, where));
  return spec;
}

struct ReplaceSpec {
  Pattern pattern;
  std::string content;
};

absl::StatusOr<ReplaceSpec> ReadReplace(const nlohmann::json& json,
                                        const std::string& where) {
  const nlohmann::json* pattern_json = FindNonNull(json, "pattern");
  if (pattern_json == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(where, ".pattern: missing"));
  }
  ASSIGN_OR_RETURN(
      Pattern pattern,
      Pattern::FromJson(*pattern_json, absl::StrCat(where, ".pattern")));
  ASSIGN_OR_RETURN(std::string content, GetString(json, "content", where));
  return ReplaceSpec{std::move(pattern), std::move(content)};
}

// Runs the steps of a Decoder one behind the other.
class StepStream final : public Decoder::Stream {
 public:
  StepStream(bool is_byte_level, bool has_spaces,
             std::vector<std::unique_ptr<TokenStep>> token_steps,
             std::vector<std::unique_ptr<TextStep>> text_steps)
      : is_byte_level_(is_byte_level),
        has_spaces_(has_spaces),
        token_steps_(std::move(token_steps)),
        text_steps_(std::move(text_steps)) {}

  void Push(absl::string_view token, std::string& out) override {
    PassToken(0, std::string(token), out);
  }

  void Finish(std::string& out) override {
    for (size_t i = 0; i < token_steps_.size(); ++i) {
      std::vector<std::string> rest;
      token_steps_[i]->Finish(rest);
      for (std::string& token : rest) PassToken(i + 1, std::move(token), out);
    }
    std::string text;
    bytes_.Finish(text);
    PassText(0, text, out);
    for (size_t i = 0; i < text_steps_.size(); ++i) {
      text.clear();
      text_steps_[i]->Finish(text);
      PassText(i + 1, text, out);
    }
  }

 private:
  void PassToken(size_t step, std::string token, std::string& out) {
    if (step == token_steps_.size()) {
      JoinToken(token, out);
      return;
    }
    std::vector<std::string> tokens;
    token_steps_[step]->Push(std::move(token), tokens);
    for (std::string& t : tokens) PassToken(step + 1, std::move(t), out);
  }

  void JoinToken(absl::string_view token, std::string& out) {
    std::string text;
    if (is_byte_level_) {
      std::string bytes;
      AppendFromByteAlphabet(token, bytes);
      bytes_.Push(bytes, text);
    } else {
      if (has_spaces_ && !is_first_) text.push_back(' ');
      is_first_ = false;
      text.append(token.data(), token.size());
    }
    PassText(0, text, out);
  }

  void PassText(size_t step, absl::string_view text, std::string& out) {
    if (text.empty()) return;
    if (step == text_steps_.size()) {
      out.append(text.data(), text.size());
      return;
    }
    std::string next;
    text_steps_[step]->Push(text, next);
    PassText(step + 1, next, out);
  }

  bool is_byte_level_;
  bool has_spaces_;
  bool is_first_ = true;
  LossyUtf8 bytes_{LossyUtf8::Replace::kPerPart};
  std::vector<std::unique_ptr<TokenStep>> token_steps_;
  std::vector<std::unique_ptr<TextStep>> text_steps_;
};

}  // namespace

absl::StatusOr<Decoder> Decoder::FromJson(const nlohmann::json& json,
                                          absl::string_view where) {
  Decoder decoder;
  if (json.is_null()) {
    decoder.join_ = Join::kSpaces;
    return decoder;
  }
  RETURN_IF_ERROR(decoder.AddStep(json, std::string(where)));
  return decoder;
}

absl::Status Decoder::AddStep(const nlohmann::json& json,
                              const std::string& where) {
  const absl::StatusOr<std::string> type_or = GetString(json, "type", where);
  if (!type_or.ok()) return type_or.status();
  const std::string& type = *type_or;
  if (type == "Sequence") {
    const nlohmann::json* list = FindNonNull(json, "decoders");
    if (list == nullptr || !list->is_array()) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ".decoders: expected an array"));
    }
    for (size_t i = 0; i < list->size(); ++i) {
      RETURN_IF_ERROR(
          AddStep((*list)[i], absl::StrCat(where, ".decoders[", i, "]")));
    }
    return absl::OkStatus();
  }
  if (join_ != Join::kNone) return AddTextStep(json, type, where);
  if (type == "Fuse") {
    join_ = Join::kFuse;
  } else if (type == "ByteLevel") {
    join_ = Join::kByteLevel;
  } else if (type == "ByteFallback") {
    token_steps_.push_back(ByteFallbackTokens());
  } else if (type == "Replace") {
    ASSIGN_OR_RETURN(ReplaceSpec spec, ReadReplace(json, where));
    token_steps_.push_back(
        ReplaceTokens(std::move(spec.pattern), std::move(spec.content)));
  } else if (type == "Strip") {
    ASSIGN_OR_RETURN(StripSpec spec, ReadStrip(json, where));
    token_steps_.push_back(StripTokens(std::move(spec)));
  } else if (type == "Metaspace") {
    ASSIGN_OR_RETURN(Metaspace spec, Metaspace::FromJson(json, where));
    token_steps_.push_back(MetaspaceTokens(std::move(spec)));
  } else if (type == "BPEDecoder") {
    ASSIGN_OR_RETURN(std::string suffix, GetString(json, "suffix", where));
    if (suffix.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ".suffix: an empty suffix is not supported"));
    }
    token_steps_.push_back(SuffixTokens(std::move(suffix)));
  } else {
    return absl::InvalidArgumentError(absl::StrCat(
        where, ".type: the decoder ", Quoted(type), " is not supported"));
  }
  return absl::OkStatus();
}

absl::Status Decoder::AddTextStep(const nlohmann::json& json,
                                  const std::string& type,
                                  const std::string& where) {
  if (type == "Fuse") return absl::OkStatus();
  if (type == "Strip") {
    ASSIGN_OR_RETURN(StripSpec spec, ReadStrip(json, where));
    text_steps_.push_back(StripText(std::move(spec)));
    return absl::OkStatus();
  }
  if (type == "Replace") {
    ASSIGN_OR_RETURN(ReplaceSpec spec, ReadReplace(json, where));
    if (!spec.pattern.literal().empty()) {
      text_steps_.push_back(
          ReplaceText(spec.pattern.literal(), std::move(spec.content)));
      return absl::OkStatus();
    }
  }
  if (type == "Metaspace") {
    ASSIGN_OR_RETURN(const Metaspace spec, Metaspace::FromJson(json, where));
    // The one text there is counts as the first token.
    const bool drops = spec.prepend != Metaspace::Prepend::kNever;
    text_steps_.push_back(ReplaceText(spec.replacement, drops ? "" : " "));
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      where, ".type: the decoder ", Quoted(type),
      " is not supported behind Fuse or ByteLevel, except Replace of a "
      "String, Strip and Metaspace"));
}

std::unique_ptr<Decoder::Stream> Decoder::NewStream() const {
  std::vector<std::unique_ptr<TokenStep>> token_steps;
  for (const TokenStepFactory& make : token_steps_) {
    token_steps.push_back(make());
  }
  std::vector<std::unique_ptr<TextStep>> text_steps;
  for (const TextStepFactory& make : text_steps_) text_steps.push_back(make());
  return std::make_unique<StepStream>(
      join_ == Join::kByteLevel, join_ == Join::kSpaces, std::move(token_steps),
      std::move(text_steps));
}

}  // namespace stockpot
