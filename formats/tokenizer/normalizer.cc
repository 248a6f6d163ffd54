#include "formats/tokenizer/normalizer.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "base/status_macros.h"
#include "formats/json.h"
#include "formats/quoted.h"
#include "formats/tokenizer/byte_alphabet.h"
#include "formats/tokenizer/pattern.h"
#include "formats/tokenizer/unicode.h"

namespace stockpot {
namespace {

using NormalizerOr = absl::StatusOr<std::unique_ptr<Normalizer>>;

class SequenceNormalizer final : public Normalizer {
 public:
  explicit SequenceNormalizer(std::vector<std::unique_ptr<Normalizer>> steps)
      : steps_(std::move(steps)) {}
  absl::StatusOr<std::string> Normalize(std::string text) const override {
    for (const auto& step : steps_) {
      ASSIGN_OR_RETURN(text, step->Normalize(std::move(text)));
    }
    return text;
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> steps_;
};

class UnicodeNormalizer final : public Normalizer {
 public:
  explicit UnicodeNormalizer(NormalForm form) : form_(form) {}
  absl::StatusOr<std::string> Normalize(std::string text) const override {
    for (const char c : text) {
      if (static_cast<unsigned char>(c) >= 0x80) {
        return NormalizeUnicode(text, form_);
      }
    }
    return text;  // ASCII is its own normal form.
  }

 private:
  NormalForm form_;
};

class LowercaseNormalizer final : public Normalizer {
 public:
  absl::StatusOr<std::string> Normalize(std::string text) const override {
    return Lowercase(text);
  }
};

class ByteLevelNormalizer final : public Normalizer {
 public:
  absl::StatusOr<std::string> Normalize(std::string text) const override {
    return ToByteAlphabet(text);
  }
};

class PrependNormalizer final : public Normalizer {
 public:
  explicit PrependNormalizer(std::string prefix) : prefix_(std::move(prefix)) {}
  absl::StatusOr<std::string> Normalize(std::string text) const override {
    if (!text.empty()) text.insert(0, prefix_);
    return text;
  }

 private:
  std::string prefix_;
};

class ReplaceNormalizer final : public Normalizer {
 public:
  ReplaceNormalizer(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  absl::StatusOr<std::string> Normalize(std::string text) const override {
    ASSIGN_OR_RETURN(const std::vector<MatchSpan> spans,
                     pattern_.FindMatches(text));
    std::string out;
    out.reserve(text.size());
    for (const MatchSpan& span : spans) {
      if (span.is_match) {
        out.append(content_);
      } else {
        out.append(text, span.begin, span.end - span.begin);
      }
    }
    return out;
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class StripNormalizer final : public Normalizer {
 public:
  StripNormalizer(bool left, bool right) : left_(left), right_(right) {}
  absl::StatusOr<std::string> Normalize(std::string text) const override {
    size_t begin = 0;
    while (left_ && begin < text.size()) {
      size_t next = begin;
      if (!IsWhitespace(NextChar(text, &next))) break;
      begin = next;
    }
    size_t end = text.size();
    while (right_ && end > begin) {
      const size_t previous = PreviousCharStart(text, end);
      size_t pos = previous;
      if (!IsWhitespace(NextChar(text, &pos))) break;
      end = previous;
    }
    return text.substr(begin, end - begin);
  }

 private:
  bool left_;
  bool right_;
};

NormalizerOr ReadSequence(const nlohmann::json& json, absl::string_view where) {
  const nlohmann::json* list = FindNonNull(json, "normalizers");
  if (list == nullptr || !list->is_array()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ".normalizers: expected an array"));
  }
  std::vector<std::unique_ptr<Normalizer>> steps;
  for (size_t i = 0; i < list->size(); ++i) {
    ASSIGN_OR_RETURN(
        auto step,
        Normalizer::FromJson((*list)[i],
                             absl::StrCat(where, ".normalizers[", i, "]")));
    steps.push_back(std::move(step));
  }
  return std::make_unique<SequenceNormalizer>(std::move(steps));
}

NormalizerOr ReadReplace(const nlohmann::json& json, absl::string_view where) {
  const nlohmann::json* pattern_json = FindNonNull(json, "pattern");
  if (pattern_json == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(where, ".pattern: missing"));
  }
  ASSIGN_OR_RETURN(
      Pattern pattern,
      Pattern::FromJson(*pattern_json, absl::StrCat(where, ".pattern")));
  ASSIGN_OR_RETURN(std::string content, GetString(json, "content", where));
  return std::make_unique<ReplaceNormalizer>(std::move(pattern),
                                             std::move(content));
}

}  // namespace

NormalizerOr Normalizer::FromJson(const nlohmann::json& json,
                                  absl::string_view where) {
  if (json.is_null()) {
    return std::make_unique<SequenceNormalizer>(
        std::vector<std::unique_ptr<Normalizer>>());
  }
  ASSIGN_OR_RETURN(const std::string type, GetString(json, "type", where));
  if (type == "Sequence") return ReadSequence(json, where);
  if (type == "NFC") {
    return std::make_unique<UnicodeNormalizer>(NormalForm::kNfc);
  }
  if (type == "NFD") {
    return std::make_unique<UnicodeNormalizer>(NormalForm::kNfd);
  }
  if (type == "NFKC") {
    return std::make_unique<UnicodeNormalizer>(NormalForm::kNfkc);
  }
  if (type == "NFKD") {
    return std::make_unique<UnicodeNormalizer>(NormalForm::kNfkd);
  }
  if (type == "Lowercase") return std::make_unique<LowercaseNormalizer>();
  if (type == "ByteLevel") return std::make_unique<ByteLevelNormalizer>();
  if (type == "Prepend") {
    ASSIGN_OR_RETURN(std::string prefix, GetString(json, "prepend", where));
    return std::make_unique<PrependNormalizer>(std::move(prefix));
  }
  if (type == "Replace") return ReadReplace(json, where);
  if (type == "Strip") {
    ASSIGN_OR_RETURN(const bool left, GetBool(json, "strip_left", where));
    ASSIGN_OR_RETURN(const bool right, GetBool(json, "strip_right", where));
    return std::make_unique<StripNormalizer>(left, right);
  }
  return absl::InvalidArgumentError(absl::StrCat(
      where, ".type: the normalizer ", Quoted(type), " is not supported"));
}

}  // namespace stockpot
